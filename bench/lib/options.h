// The command line of a bench.
#pragma once

#include <boost/program_options.hpp>

namespace podwire::bench {

// Reads the words into what `known` names. False: help was asked for and is printed. Ends the
// program with status 2 and a sentence where a word is wrong.
[[nodiscard]] bool read_words(const char* program,
                              const boost::program_options::options_description& known, int argc,
                              char** argv);

}  // namespace podwire::bench
