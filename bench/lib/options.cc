#include "bench/lib/options.h"

#include <iostream>

#include "bench/lib/record.h"

namespace podwire::bench {

bool read_words(const char* program, const boost::program_options::options_description& known,
                int argc, char** argv) {
  namespace po = boost::program_options;
  po::variables_map words;
  try {
    po::store(po::parse_command_line(argc, argv, known), words);
    po::notify(words);
  } catch (const po::error& error) {
    stop(program, error.what(), 2);
  }
  if (words.contains("help")) std::cout << known;
  return !words.contains("help");
}

}  // namespace podwire::bench
