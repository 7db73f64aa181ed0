// connections: new flows between pods of this machine, allowed and refused ones; see loads.h.
//   connections open|refused|datagrams --pair CLIENT,SERVER,ADDRESS ... [--seconds 1] [--core 0]
//   connections ask   reads "CLIENT SERVER ADDRESS PORT" lines: who may connect by TCP?
// CLIENT and SERVER are network namespaces. A load prints a JSON object, `ask` a line for each
// question: allowed or refused.
#include <sched.h>
#include <sys/socket.h>

#include <boost/program_options.hpp>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

#include "bench/policy_versus/connections/loads.h"

namespace podwire::policy_versus {
namespace {

namespace po = boost::program_options;

// Each of them passes after all that has been under way when the one before came back.
constexpr unsigned kMarkers = 3;

std::vector<Pair> read_pairs(const std::vector<std::string>& texts) {
  std::vector<Pair> pairs;
  for (const std::string& text : texts) {
    std::istringstream words(text);
    std::string client, server, address;
    if (!std::getline(words, client, ',') || !std::getline(words, server, ',') ||
        !std::getline(words, address)) {
      throw std::runtime_error("--pair \"" + text + "\" is not CLIENT,SERVER,ADDRESS");
    }
    pairs.emplace_back(client, std::make_shared<Server>(server, address), Ports{});
  }
  if (pairs.empty()) throw std::runtime_error("give at least one --pair");
  return pairs;
}

bool is_connected(const Descriptor& connection) {
  sockaddr_in peer{};
  socklen_t length = sizeof peer;
  return getpeername(connection.get(), reinterpret_cast<sockaddr*>(&peer), &length) == 0;
}

// Every question's SYN is under way before the first answer is looked at.
class Asking {
 public:
  void add(const std::string& line) {
    std::istringstream words(line);
    std::string client, name, address;
    unsigned port = 0;
    if (!(words >> client >> name >> address >> port) || port == 0 || port > 65535) {
      throw std::runtime_error("\"" + line + "\" is not CLIENT SERVER ADDRESS PORT");
    }
    auto& server = servers_[name];
    if (server == nullptr) server = std::make_shared<Server>(name, address);
    auto& pair = pairs_[client + " " + name];
    if (pair == nullptr) pair = std::make_unique<Pair>(client, server, Ports{});
    server->listener(static_cast<std::uint16_t>(port));
    pair->client.enter();
    asked_.push_back(connect_tcp(server->address(), static_cast<std::uint16_t>(port), 0));
  }

  void answer() {
    for (auto& [names, pair] : pairs_) {
      for (unsigned i = 0; i < kMarkers; ++i) pass_marker(*pair, true);
    }
    for (const Descriptor& one : asked_) {
      std::cout << (is_connected(one) ? "allowed\n" : "refused\n");
    }
  }

 private:
  std::map<std::string, std::shared_ptr<Server>> servers_;
  std::map<std::string, std::unique_ptr<Pair>> pairs_;
  std::vector<Descriptor> asked_;
};

void stay_on(unsigned core) {
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(core, &only);
  if (sched_setaffinity(0, sizeof only, &only) != 0) fail("--core " + std::to_string(core));
}

int ask() {
  Asking asking;
  for (std::string line; std::getline(std::cin, line);) asking.add(line);
  asking.answer();
  return 0;
}

int measure(const std::string& what, std::vector<Pair> pairs, const Plan& plan) {
  if (plan.batch == 0 || plan.batch > 1000) throw std::runtime_error("--batch is 1 to 1000");
  if (!(plan.seconds > 0)) throw std::runtime_error("--seconds is more than 0");
  Done done;
  if (what == "open") {
    done = open_connections(pairs, plan);
  } else if (what == "refused") {
    done = open_refused(pairs, plan);
  } else if (what == "datagrams") {
    done = send_datagrams(pairs, plan);
  } else {
    throw std::runtime_error("\"" + what + "\" is none of open, refused, datagrams, ask");
  }
  std::cout << nlohmann::json{{"flows", done.flows},
                              {"batches", done.batches},
                              {"seconds", done.seconds}}
            << std::endl;
  return 0;
}

}  // namespace
}  // namespace podwire::policy_versus

int main(int argc, char** argv) {
  namespace po = boost::program_options;
  using podwire::policy_versus::Plan;
  Plan plan;
  unsigned core = 0;
  std::string what;
  std::vector<std::string> pairs;
  po::options_description all("connections open|refused|datagrams|ask: see main.cc");
  all.add_options()("help", "print this")("what", po::value(&what)->required(), "the load")(
      "pair", po::value(&pairs), "CLIENT,SERVER,ADDRESS (repeat)")(
      "seconds", po::value(&plan.seconds), "of the load")("batch", po::value(&plan.batch),
                                                          "flows under way at once")(
      "first-batch", po::value(&plan.first_batch), "number of the first")("core", po::value(&core),
                                                                          "the core to run on");
  po::positional_options_description first;
  first.add("what", 1);
  try {
    po::variables_map given;
    po::store(po::command_line_parser(argc, argv).options(all).positional(first).run(), given);
    if (given.count("help") != 0) {
      std::cout << all;
      return 0;
    }
    po::notify(given);
    podwire::policy_versus::stay_on(core);
    if (what == "ask") return podwire::policy_versus::ask();
    return podwire::policy_versus::measure(what, podwire::policy_versus::read_pairs(pairs), plan);
  } catch (const std::exception& error) {
    std::cerr << "connections: " << error.what() << "\n";
    return 1;
  }
}
