// traffic: the packets of bench/versus, and the judge of what a system makes of them. Takes
// commands from its standard input, a line each, and answers each with a line of JSON:
//   establish FLOWS     send FLOWS SECONDS     open FIRST COUNT
#include <rte_cycles.h>

#include <boost/program_options.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "bench/versus/traffic/generator.h"

namespace podwire::versus {
namespace {

namespace po = boost::program_options;
using nlohmann::json;

json as_json(const Outcome& outcome) {
  return {{"sent", outcome.sent},
          {"received", outcome.received},
          {"wrong", outcome.wrong},
          {"fault", outcome.fault},
          {"seconds", outcome.seconds}};
}

json answer(const std::string& line, Generator& generator) {
  std::istringstream words(line);
  std::string command;
  double first = 0, second = 0;
  words >> command >> first;
  const auto number = [](double value) { return static_cast<std::uint32_t>(value); };
  if (words && command == "establish" && first >= 1) {
    return as_json(generator.establish(number(first)));
  }
  if (words >> second && second > 0) {
    if (command == "send" && first >= 1) return as_json(generator.send(number(first), second));
    if (command == "open") return as_json(generator.open(number(first), number(second)));
  }
  return {{"error", "no command \"" + line + "\""}};
}

int run(const po::variables_map& options) {
  const Scene scene = Scene::read(options["scene"].as<std::string>());
  Device device({.device = options["device"].as<std::string>(),
                 .prefix = options["prefix"].as<std::string>(),
                 .core = options["core"].as<unsigned>(),
                 .receive_queues = options["receive-queues"].as<unsigned>()});
  Generator generator(device, scene);
  std::cout << json{{"ready", true}, {"tsc_hz", rte_get_tsc_hz()}} << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << answer(line, generator) << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace podwire::versus

int main(int argc, char** argv) {
  namespace po = boost::program_options;
  po::options_description all("traffic: commands on standard input, see main.cc");
  all.add_options()("help", "print this")  //
      ("scene", po::value<std::string>()->required(), "file that bench/versus/scene.py writes")(
          "device", po::value<std::string>()->required(), "DPDK device string")(
          "prefix", po::value<std::string>()->default_value("versus"), "DPDK's --file-prefix")(
          "core", po::value<unsigned>()->default_value(0), "the core to run on")(
          "receive-queues", po::value<unsigned>()->default_value(1), "of the device");
  try {
    po::variables_map options;
    po::store(po::parse_command_line(argc, argv, all), options);
    if (options.count("help") != 0) {
      std::cout << all;
      return 0;
    }
    po::notify(options);
    return podwire::versus::run(options);
  } catch (const std::exception& error) {
    std::cerr << "traffic: " << error.what() << "\n";
    return 1;
  }
}
