// What every result carries: where, when and on what it was measured, and how noisy it was there.
// record.py writes the same fields for the benches in Python.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "bench/lib/alternate.h"

namespace podwire::bench {

using Row = nlohmann::ordered_json;

// "median", "p10", "p90", rounded to a tenth.
[[nodiscard]] Row to_json(const Spread& spread);
[[nodiscard]] Row to_json(const Noise& noise);

// Appends machine, cores, kernel, dpdk, commit, build, date and noise to a row.
void add_record(Row& row, const Noise& noise);

// "release", or "debug" for any build whose speed says nothing. warn_of_build() says so once on
// standard error.
[[nodiscard]] const char* build_type();
void warn_of_build(const char* program);

// A result as it comes: the row as one line of JSON, or the line to read.
void show(const Row& row, bool as_json, const std::string& line);

// Says on standard error what is wrong with the command line or the machine, and ends the program.
[[noreturn]] void stop(const char* program, const std::string& sentence, int status = 1);

}  // namespace podwire::bench
