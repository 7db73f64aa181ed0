// podwirectl: asks a running podwired what it knows and does.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/program_options.hpp>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "control/ctl/client.h"
#include "control/ctl/explain_command.h"
#include "control/ctl/text.h"
#include "control/version.h"

namespace {

namespace po = boost::program_options;
namespace ctl = podwire::control::ctl;
using nlohmann::json;

constexpr int kOk = 0, kFailed = 1, kUsage = 2, kNotReady = 3;

struct Command {
  const char* name;
  const char* help;
};
constexpr std::array kCommands = {
    Command{"status", "node, source, workers, table fill, problems; exit 3 while not synced"},
    Command{"pods", "this node's pods, their addresses and ports"},
    Command{"services", "Services in force, with frontends and backends"},
    Command{"policies", "NetworkPolicies and the pods of this node that they select"},
    Command{"routes", "where packets go, by prefix; --to ADDRESS or PREFIX chooses"},
    Command{"bgp", "bird's peers, their states and routes; what this node announces"},
    Command{"flows", "connections; --pod, --service, --protocol, --limit choose"},
    Command{"drops", "dropped packets by reason; --all shows every reason"},
    Command{"counters", "the workers' and ports' counters"},
    Command{"top", "rates, once a second; --once prints them once"},
    Command{"explain", "whether policy lets --from reach --to, and which rule decides"}};

struct Arguments {
  std::string command, run_dir, pod, service, protocol;
  std::string from, to, port, manifests;
  std::uint64_t limit = 100;
  bool batch = false;
  bool as_json = false, once = false, all = false, help = false, version = false;
};

po::options_description options(Arguments& a) {
  po::options_description shown("Options");
  shown.add_options()("run-dir",
                      po::value(&a.run_dir)->default_value("/run/podwire")->value_name("FOLDER"),
                      "where podwired's sockets are")("json", po::bool_switch(&a.as_json),
                                                      "print podwired's answer as JSON")(
      "pod", po::value(&a.pod)->value_name("NS/NAME"), "flows: of this pod")(
      "service", po::value(&a.service)->value_name("NS/NAME"), "flows: of this Service")(
      "protocol", po::value(&a.protocol)->value_name("NAME"),
      "flows, explain: tcp, udp, sctp, icmp, icmpv6 or a number (explain: tcp when not given)")(
      "from", po::value(&a.from)->value_name("END"),
      "explain: NS/POD, NS/SERVICE, an address, node or node:NAME; pod: or service: before a name "
      "that both have")("to", po::value(&a.to)->value_name("END"),
                        "explain: the same; routes: an address or a prefix")(
      "port", po::value(&a.port)->value_name("N"), "explain: a number or a port's name")(
      "manifests", po::value(&a.manifests)->value_name("DIR"),
      "explain: by the objects in a folder, without podwired")(
      "batch", po::bool_switch(&a.batch),
      "explain: questions from standard input, a line each: {\"from\":\"ns/pod\",\"to\":\"ns/pod\","
      "\"protocol\":\"TCP\",\"port\":80}; a line of JSON answers each")(
      "limit", po::value(&a.limit)->default_value(100)->value_name("N"), "flows: at most so many")(
      "all", po::bool_switch(&a.all), "drops: also the reasons that never happened")(
      "once", po::bool_switch(&a.once), "top: print once and exit")(
      "help", po::bool_switch(&a.help), "print this and exit")(
      "version", po::bool_switch(&a.version), "print the version and exit");
  return shown;
}

void print_help(const po::options_description& shown) {
  std::cout << "podwirectl COMMAND [options]: looks into the podwired of this node.\n\nCommands:\n";
  for (const Command& command : kCommands) std::printf("  %-10s %s\n", command.name, command.help);
  std::fflush(stdout);
  std::cout << "\n"
            << shown << "\nExit code: 0, or 1 when podwired does not answer, 2 for a usage "
            << "error, 3 when `status` finds it not synced.\n"
            << "explain: 0 allow, 1 deny, 2 not known (also when podwired does not answer) or a "
            << "usage error;\nwith --batch 0 when every line was answered, 2 when one was not a "
            << "question.\n";
}

int explain(const Arguments& a) {
  return ctl::run_explain({a.run_dir, a.manifests, a.from, a.to,
                           a.protocol.empty() ? "TCP" : a.protocol, a.port, a.batch, a.as_json});
}

volatile sig_atomic_t interrupted = 0;

int run_top(const Arguments& arguments) {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  while (interrupted == 0) {
    const auto result = ctl::ask(arguments.run_dir, {{"command", "top"}});
    if (!result) {
      std::fprintf(stderr, "podwirectl: %s\n", result.error().message.c_str());
      return kFailed;
    }
    if (arguments.as_json) {
      std::puts(result->dump().c_str());
    } else {
      // Home and clear instead of scrolling.
      if (terminal && !arguments.once) std::fputs("\033[H\033[2J", stdout);
      std::fputs(ctl::report_text("top", *result, false).c_str(), stdout);
    }
    if (std::fflush(stdout) != 0 || arguments.once) break;
    sleep(1);  // a signal ends it early
  }
  return kOk;
}

int run_command(const Arguments& arguments) {
  json request{{"command", arguments.command}};
  if (arguments.command == "flows") {
    request["limit"] = arguments.limit;
    if (!arguments.pod.empty()) request["pod"] = arguments.pod;
    if (!arguments.service.empty()) request["service"] = arguments.service;
    if (!arguments.protocol.empty()) request["protocol"] = arguments.protocol;
  }
  if (arguments.command == "routes" && !arguments.to.empty()) request["to"] = arguments.to;
  const auto result = ctl::ask(arguments.run_dir, request);
  if (!result) {
    std::fprintf(stderr, "podwirectl: %s\n", result.error().message.c_str());
    return kFailed;
  }
  if (arguments.as_json) {
    std::puts(result->dump(2).c_str());
  } else {
    std::fputs(ctl::report_text(arguments.command, *result, arguments.all).c_str(), stdout);
  }
  if (std::fflush(stdout) != 0) return kFailed;
  return arguments.command == "status" && !(*result)["synced"].get<bool>() ? kNotReady : kOk;
}

int usage(const std::string& sentence) {
  std::fprintf(stderr, "podwirectl: %s; see podwirectl --help\n", sentence.c_str());
  return kUsage;
}

}  // namespace

int main(int argc, char** argv) try {
  Arguments arguments;
  const auto shown = options(arguments);
  po::options_description all;
  all.add(shown).add_options()("command", po::value(&arguments.command));
  po::positional_options_description positional;
  positional.add("command", 1);
  po::variables_map values;
  try {
    po::store(po::command_line_parser(argc, argv).options(all).positional(positional).run(),
              values);
    po::notify(values);
  } catch (const po::error& error) {
    return usage(error.what());
  }
  if (arguments.version) {
    std::printf("podwirectl %s\n", podwire::control::kVersion);
    return kOk;
  }
  if (arguments.help) {
    print_help(shown);
    return kOk;
  }
  if (arguments.command.empty()) return usage("no command is given");
  if (std::none_of(kCommands.begin(), kCommands.end(),
                   [&](const Command& known) { return arguments.command == known.name; })) {
    return usage("\"" + arguments.command + "\" is no command");
  }
  if (arguments.command == "explain") return explain(arguments);
  return arguments.command == "top" ? run_top(arguments) : run_command(arguments);
} catch (const std::exception& error) {
  // An answer of another version than ours.
  std::fprintf(stderr, "podwirectl: podwired's answer is not understood: %s\n", error.what());
  return kFailed;
}
