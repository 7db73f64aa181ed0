// model: what 4 to 64 workers would carry, computed from what one and two workers were measured to
// need and from how RSS spreads flows. A model; nothing here is measured but what it is given.
#include <algorithm>
#include <boost/program_options.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>

#include "bench/lib/record.h"
#include "bench/model/load.h"
#include "bench/model/queue.h"

namespace podwire::bench {
namespace {

struct Options {
  std::vector<std::string> files;
  std::vector<std::string> cases;
  std::vector<unsigned> workers;
  double driver_cycles = 0;
  double elephant_share = 0.2;
  std::uint32_t table_size = 128;
  unsigned ring = 1024;
  bool json = false;
};

std::vector<Row> read_rows(std::istream& in, const std::string& name) {
  std::vector<Row> rows;
  for (std::string line; std::getline(in, line);) {
    if (line.empty()) continue;
    Row row = Row::parse(line, nullptr, false);
    if (!row.is_object()) stop("model", name + ": not a JSON object: " + line.substr(0, 60), 2);
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<Row> read_files(const std::vector<std::string>& files) {
  std::vector<Row> rows;
  for (const auto& name : files) {
    std::ifstream in(name);
    if (!in) stop("model", "cannot read " + name, 2);
    const auto found = read_rows(in, name);
    rows.insert(rows.end(), found.begin(), found.end());
  }
  return files.empty() ? read_rows(std::cin, "standard input") : rows;
}

bool same(const Row& a, const Row& b, const char* name) {
  return a.value(name, Row()) == b.value(name, Row());
}

// What one worker costs the next, by the Universal Scalability Law without its quadratic term, for
// which two points do not suffice: a packet costs 1 + sigma * (busy workers - 1) times what it
// costs one worker alone.
struct Contention {
  double sigma = 0;
  const Row* measured = nullptr;
};
Contention contention_of(const Row& path, const std::vector<Row>& rows) {
  Contention out;
  for (const auto& row : rows) {
    if (row.value("bench", "") != "path_workers" || !same(row, path, "case")) continue;
    const bool better = out.measured == nullptr || same(row, path, "flows");
    if (!better || !row.contains("speedup")) continue;
    out = {std::max(2 / row["speedup"].get<double>() - 1, 0.0), &row};
  }
  return out;
}

class Model {
 public:
  Model(const Options& options, const Row& path, const Contention& contention)
      : options_(options), path_(path), contention_(contention) {
    const auto& cycles = path["cycles_per_packet"];
    cycles_ = {cycles["median"], cycles["p10"], cycles["p90"]};
    ns_per_cycle_ = 1e9 / (path["packets_per_second"].get<double>() * cycles_.median);
  }

  void run(const std::string& distribution) const {
    const LoadShape shape{.flows = path_["flows"].get<std::uint32_t>(),
                          .distribution = distribution,
                          .elephant_share = options_.elephant_share,
                          .table_size = options_.table_size};
    const auto shares = table_shares(shape);
    for (const unsigned workers : options_.workers) {
      add(shape, "plain table", workers, shares, assign_plainly(shares.size(), workers));
      add(shape, "table moved by load", workers, shares, assign_by_load(shares, workers));
    }
  }

 private:
  // Of a packet while `busy` workers' worth of work is done.
  [[nodiscard]] Spread service_ns(double busy) const {
    const double factor = 1 + contention_.sigma * (busy - 1);
    const auto ns = [&](double cycles) {
      return (cycles * factor + options_.driver_cycles) * ns_per_cycle_;
    };
    return {ns(cycles_.median), ns(cycles_.p10), ns(cycles_.p90)};
  }

  void add(const LoadShape& shape, const char* way, unsigned workers,
           const std::vector<double>& shares, const std::vector<unsigned>& assignment) const {
    const auto load = worker_shares(shares, assignment, workers);
    const double most = *std::max_element(load.begin(), load.end());
    const Spread service = service_ns(1 / most);
    const double full = 1e9 / service.median / most;
    const double ndr = largest_rate({.service_ns = service, .ring = options_.ring}) / most;
    const auto rounded = [](double value) { return std::round(value * 1000) / 1000; };
    Row row{{"bench", "model"},
            {"model", true},
            {"case", path_["case"]},
            {"flows", shape.flows},
            {"distribution", shape.distribution},
            {"way", way},
            {"workers", workers},
            {"mpps", rounded(full / 1e6)},
            {"ndr_mpps", rounded(ndr / 1e6)},
            {"speedup", rounded(full * service_ns(1).median / 1e9)},
            {"fullest_worker_share", rounded(most)},
            {"sigma", rounded(contention_.sigma)},
            {"sigma_from", contention_.measured != nullptr ? "two workers" : "not measured: 0"},
            {"cycles_from", path_["distribution"]},
            {"driver_cycles", options_.driver_cycles},
            {"table_size", shape.table_size},
            {"of_commit", path_.value("commit", "unknown")}};
    if (shape.distribution == "elephant") row["elephant_share"] = shape.elephant_share;
    print(row);
  }

  void print(Row& row) const {
    static const Noise none;
    add_record(row, none);
    row["noise"] = path_.value("noise", Row());
    char line[200];
    std::snprintf(line, sizeof(line),
                  "model: %-18s %8u flows %-9s %-20s %2u workers: %8.1f Mpps, NDR %8.1f, %5.1fx",
                  row["case"].get<std::string>().c_str(), row["flows"].get<unsigned>(),
                  row["distribution"].get<std::string>().c_str(),
                  row["way"].get<std::string>().c_str(), row["workers"].get<unsigned>(),
                  row["mpps"].get<double>(), row["ndr_mpps"].get<double>(),
                  row["speedup"].get<double>());
    show(row, options_.json, line);
  }

  const Options& options_;
  const Row& path_;
  const Contention& contention_;
  Spread cycles_;
  double ns_per_cycle_ = 0;
};

// What was measured, to stand beside the model in the same plot.
void show_measured(const Options& options, const Row& path, const Row& two) {
  const double hz =
      path["packets_per_second"].get<double>() * path["cycles_per_packet"]["median"].get<double>();
  for (const unsigned workers : {1U, 2U}) {
    const double cycles = workers == 1 ? two["one_worker_cycles"].get<double>()
                                       : two["cycles_per_packet"]["median"].get<double>();
    Row row{{"bench", "model"}, {"model", false}};
    for (const char* name : {"case", "flows", "distribution"}) row[name] = two[name];
    row["way"] = "measured";
    row["workers"] = workers;
    row["mpps"] = std::round(workers * hz / cycles / 1e3) / 1e3;
    row["speedup"] = workers == 1 ? Row(1) : two["speedup"];
    for (const char* name : {"machine", "cores", "kernel", "dpdk", "commit", "build", "date"}) {
      row[name] = two.value(name, Row());
    }
    row["noise"] = two.value("noise", Row());
    show(row, options.json,
         "measured: " + row["case"].get<std::string>() + ", " + std::to_string(workers) +
             " workers: " + row["mpps"].dump() + " Mpps");
  }
}

// The measured row whose cost stands for a distribution: its own, or the uniform one of as many
// flows, which costs more.
bool stands_for(const Row& path, const std::string& distribution, const std::vector<Row>& rows) {
  const auto given = path.value("distribution", "");
  if (given == distribution) return true;
  if (given != "uniform") return false;
  return std::none_of(rows.begin(), rows.end(), [&](const Row& other) {
    return other.value("bench", "") == "path" && same(other, path, "case") &&
           same(other, path, "flows") && other.value("distribution", "") == distribution;
  });
}

void run(const Options& options) {
  const auto rows = read_files(options.files);
  bool any = false;
  for (const auto& path : rows) {
    if (path.value("bench", "") != "path" || !path.contains("packets_per_second")) continue;
    const auto& wanted = options.cases;
    if (std::find(wanted.begin(), wanted.end(), path.value("case", "")) == wanted.end()) continue;
    any = true;
    const Contention contention = contention_of(path, rows);
    const Model model(options, path, contention);
    for (const char* distribution : {"uniform", "zipf", "elephant"}) {
      if (stands_for(path, distribution, rows)) model.run(distribution);
    }
    if (contention.measured != nullptr && same(*contention.measured, path, "flows") &&
        same(*contention.measured, path, "distribution")) {
      show_measured(options, path, *contention.measured);
    }
  }
  if (!any) stop("model", "no row of bench/path in the input for the case asked for", 2);
}

Options read_options(int argc, char** argv) {
  namespace po = boost::program_options;
  Options given;
  po::options_description known("model: a model of 1 to 64 workers from rows of bench/path --json");
  known.add_options()("help", "this text")("file", po::value(&given.files)->multitoken(),
                                           "rows as JSON lines; none: standard input")(
      "case",
      po::value(&given.cases)
          ->multitoken()
          ->default_value({"dnat_policy_ipip"}, "dnat_policy_ipip"),
      "of the rows")("workers",
                     po::value(&given.workers)
                         ->multitoken()
                         ->default_value({1, 2, 4, 8, 16, 32, 48, 64}, "1 2 4 8 16 32 48 64"),
                     "how many")(
      "driver-cycles", po::value(&given.driver_cycles)->default_value(given.driver_cycles),
      "what the NIC's driver adds to a packet; the path's own rows are without one")(
      "elephant-share", po::value(&given.elephant_share)->default_value(given.elephant_share),
      "of all packets, one flow's")("table-size",
                                    po::value(&given.table_size)->default_value(given.table_size),
                                    "entries of the NIC's indirection table")(
      "ring", po::value(&given.ring)->default_value(given.ring), "descriptors of a receive ring")(
      "json", po::bool_switch(&given.json), "one JSON object a line");
  po::positional_options_description files;
  files.add("file", -1);
  try {
    po::variables_map words;
    po::store(po::command_line_parser(argc, argv).options(known).positional(files).run(), words);
    po::notify(words);
    if (words.contains("help")) {
      std::cout << known;
      std::exit(0);
    }
  } catch (const po::error& error) {
    stop("model", error.what(), 2);
  }
  for (const auto workers : given.workers) {
    if (workers == 0 || workers > given.table_size) {
      stop("model", "--workers is 1 to the table's size, " + std::to_string(given.table_size), 2);
    }
  }
  if (!(given.elephant_share > 0 && given.elephant_share < 1) || given.ring == 0 ||
      !(given.driver_cycles >= 0)) {
    stop("model",
         "--elephant-share is between 0 and 1, --ring at least 1, --driver-cycles not "
         "negative",
         2);
  }
  return given;
}

}  // namespace
}  // namespace podwire::bench

int main(int argc, char** argv) {
  podwire::bench::run(podwire::bench::read_options(argc, argv));
  return 0;
}
