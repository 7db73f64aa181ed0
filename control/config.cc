#include "control/config.h"

#include <unistd.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "control/config_options.h"
#include "control/version.h"

namespace podwire::control {
namespace {

namespace po = boost::program_options;
using options::find_option;
using options::Option;
using options::table;
using options::Values;

po::options_description descriptions() {
  po::options_description all("podwired [--key=value ...]", 100, 60);
  po::options_description general("General");
  general.add_options()("help", "print this and exit")("version", "print the version and exit")(
      "check-config", "print `ok`, or what is wrong, and exit")(
      "config", po::value<std::string>()->value_name("FILE"),
      (std::string("file of `key = value` lines; default: ") + kDefaultConfigFile +
       " when it exists")
          .c_str());
  all.add(general);
  for (std::size_t i = 0; i < table().size();) {
    const char* section = table()[i].section;
    po::options_description part(section, 100, 60);
    for (; i < table().size() && table()[i].section == section; ++i) {
      const Option& option = table()[i];
      auto* value = po::value<std::string>();
      value->value_name(option.value == nullptr ? "BOOL" : option.value);
      if (!option.default_text.empty()) value->default_value(option.default_text);
      if (option.value == nullptr) value->implicit_value("true");
      part.add_options()(option.name, value, option.help.c_str());
    }
    all.add(part);
  }
  return all;
}

std::string environment_name(const std::string& option) {
  std::string name = "PODWIRE_";
  for (const char c : option) {
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

// Kubernetes puts PODWIRE_SERVICE_HOST, PODWIRE_X_PORT_80_TCP_ADDR and the like into every
// container when a Service is called podwire...: pkg/kubelet/envvars/envvars.go.
bool is_service_link(const std::string& name) {
  const auto ends = [&](const std::string& end) {
    return name.size() > end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
  };
  return ends("_SERVICE_HOST") || name.find("_SERVICE_PORT") != std::string::npos ||
         ends("_PORT") || name.find("_PORT_") != std::string::npos;
}

// One place (file, environment or command line): each key's values and where they stand.
struct Given {
  Values values;
  std::string place;  // "podwired.conf:7: workers", "PODWIRE_WORKERS", "--workers"
};
using Layer = std::map<std::string, Given>;

struct CommandLine {
  Layer layer;
  Wish wish = Wish::run;
  std::string file;
};

Result<CommandLine> read_command_line(const Values& arguments) {
  CommandLine result;
  try {
    namespace style = po::command_line_style;
    const auto described = descriptions();
    const auto parsed =
        po::command_line_parser(arguments)
            .options(described)
            .style(style::allow_long | style::long_allow_adjacent | style::long_allow_next)
            .run();
    for (const auto& option : parsed.options) {
      const std::string& key = option.string_key;
      if (key.empty() || option.position_key >= 0) {
        return fail("command line: \"" + option.value.front() +
                    "\" is not an option; options begin with --, see podwired --help");
      }
      // The first of these that stands on the line is what happens.
      const auto wish = [&](Wish w) { result.wish = result.wish == Wish::run ? w : result.wish; };
      if (key == "help") {
        wish(Wish::help);
      } else if (key == "version") {
        wish(Wish::version);
      } else if (key == "check-config") {
        wish(Wish::check);
      } else if (key == "config") {
        result.file = option.value.front();
      } else {
        Given& given = result.layer[key];
        if (!find_option(key)->list && !given.values.empty()) {
          return fail("--" + key + ": given twice");
        }
        given.place = "--" + key;
        // A switch without a value means yes.
        given.values.push_back(option.value.empty() ? "true" : option.value.front());
      }
    }
  } catch (const po::unknown_option& unknown) {
    const std::string name = unknown.get_option_name();
    return fail("command line: " + name.substr(0, name.find('=')) +
                " is not an option, see podwired --help");
  } catch (const po::error& error) {
    return fail(std::string("command line: ") + error.what());
  }
  return result;
}

Result<Layer> read_environment(const ConfigSources& sources, std::string& file) {
  Layer layer;
  for (const auto& variable : sources.environment) {
    const auto& name = variable.first;  // not a structured binding: clang 14 cannot capture those
    const auto& value = variable.second;
    if (!name.starts_with("PODWIRE_")) continue;
    if (name == environment_name("config")) {
      if (file.empty()) file = value;
      continue;
    }
    const auto found = std::find_if(table().begin(), table().end(), [&](const Option& option) {
      return environment_name(option.name) == name;
    });
    if (found != table().end()) {
      layer[found->name] = {{value}, name};
    } else if (!is_service_link(name)) {
      return fail(name + ": no such option in the environment, see podwired --help");
    }
  }
  return layer;
}

Result<Layer> read_file(const std::string& path) {
  std::ifstream stream(path);
  std::error_code ignored;
  if (!stream || std::filesystem::is_directory(path, ignored)) {
    return fail(path + ": cannot be read: " + (stream ? "it is a folder" : std::strerror(errno)));
  }
  Layer layer;
  const auto described = descriptions();
  unsigned number = 0;
  // Line by line, so that a message can name the line.
  for (std::string line; std::getline(stream, line);) {
    const std::string place = path + ":" + std::to_string(++number) + ": ";
    if (!line.empty() && line.back() == '\r') line.pop_back();
    const auto first = line.find_first_not_of(" \t");
    if (first != std::string::npos && line[first] == '[') {
      return fail(place + "sections are not used here, only `key = value` lines");
    }
    std::vector<po::option> parsed;
    try {
      std::istringstream one(line);
      parsed = po::parse_config_file(one, described, true).options;
    } catch (const po::error&) {
      return fail(place + "\"" + line + "\" is not a `key = value` line");
    }
    for (const auto& option : parsed) {
      const std::string& key = option.string_key;
      const Option* known = find_option(key);
      if (known == nullptr) return fail(place + key + ": no such key, see podwired --help");
      Given& given = layer[key];
      if (!known->list && !given.values.empty()) {
        return fail(place + key + ": given twice in this file");
      }
      given.place = place + key;
      given.values.push_back(option.value.empty() ? "" : option.value.front());
    }
  }
  if (stream.bad()) return fail(path + ": cannot be read: " + std::strerror(errno));
  return layer;
}

std::string host_name() {
  char buffer[256] = {};
  if (gethostname(buffer, sizeof buffer - 1) != 0) return {};
  std::string name = buffer;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

// Where objects come from: one of three.
template <typename Place>
Result<void> check_source(const Config& config, Place place) {
  const bool manifests = !config.manifests.empty(), kubeconfig = !config.kubeconfig.empty();
  if (!manifests && !kubeconfig && !config.in_cluster) {
    return fail(
        "manifests: not set; say where objects come from: manifests = FOLDER, kubeconfig = FILE or "
        "in-cluster = true");
  }
  const char* const first = manifests ? "manifests" : "kubeconfig";
  if (static_cast<int>(manifests) + static_cast<int>(kubeconfig) +
          static_cast<int>(config.in_cluster) >
      1) {
    const char* const second = manifests && kubeconfig ? "kubeconfig" : "in-cluster";
    return fail(place(second) + ": contradicts " + first + "; objects come from one place");
  }
  if (manifests) return {};
  const auto access = read_access(config);
  const auto credential =
      access ? apiserver::read_credential(*access) : tl::unexpected(access.error());
  if (credential) return {};
  return fail(place(kubeconfig ? "kubeconfig" : "in-cluster") + ": " + credential.error().message);
}

// What one key alone cannot tell. `place` gives the key as the user wrote it.
Result<void> check_together(Config& config, const Layer& given) {
  const auto place = [&](const char* key) {
    const auto found = given.find(key);
    return found == given.end() ? std::string(key) : found->second.place;
  };
  auto& dataplane = config.dataplane;
  if (config.node_name.empty()) {
    config.node_name = host_name();
    if (!options::is_dns_name(config.node_name)) {
      return fail("node-name: the host's name \"" + config.node_name +
                  "\" cannot be a node's name; set node-name");
    }
  }
  if (dataplane.uplink_device.empty()) {
    return fail(place("uplink") +
                ": not set; name a DPDK device, e.g. uplink = net_af_packet0,iface=eth0");
  }
  if (auto done = check_source(config, place); !done) return done;
  if (!dataplane.worker_cores.empty()) {
    const auto cores = static_cast<unsigned>(dataplane.worker_cores.size());
    if (given.contains("workers") && dataplane.worker_count != cores) {
      return fail(place("workers") + ": " + std::to_string(dataplane.worker_count) +
                  " contradicts worker-cores, which names " + std::to_string(cores));
    }
    dataplane.worker_count = cores;
  }
  // sockaddr_un holds 107 bytes and "/podwired.sock" is the longest name put there.
  if (config.run_dir.size() + std::strlen("/podwired.sock") > 107) {
    return fail(place("run-dir") + ": longer than the 93 bytes a socket's path leaves");
  }
  return {};
}

Result<void> set_all(Config& config, const Layer& layer) {
  for (const auto& [key, given] : layer) {
    const auto done = find_option(key)->set(config, given.values);
    if (!done) return fail(given.place + ": " + done.error().message);
  }
  return {};
}

// Every key with the values in force, in the order of --help.
std::vector<Config::InForce> in_force(const Config& config, const Layer& given) {
  std::vector<Config::InForce> all;
  for (const Option& option : table()) {
    const auto found = given.find(option.name);
    Values values = found == given.end() ? Values{option.default_text} : found->second.values;
    if (option.list && values == Values{""}) values.clear();
    all.push_back({option.name, std::move(values), option.list});
    if (all.back().key == "node-name") all.back().values = {config.node_name};
  }
  return all;
}

}  // namespace

Result<apiserver::Access> read_access(const Config& config) {
  if (!config.kubeconfig.empty()) return apiserver::read_kubeconfig(config.kubeconfig);
  return apiserver::read_service_account(std::getenv("KUBERNETES_SERVICE_HOST"),
                                         std::getenv("KUBERNETES_SERVICE_PORT"),
                                         apiserver::kServiceAccountFolder);
}

Result<ListenAddress> parse_listen_address(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon != std::string::npos) {
    std::string host = text.substr(0, colon);
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    const auto address = net::Address::parse(host);
    const auto port = options::whole_number(text.substr(colon + 1));
    if (address && address->is_v4() != bracketed && port && *port <= 65535) {
      return ListenAddress{*address, static_cast<std::uint16_t>(*port)};
    }
  }
  return fail("\"" + text +
              "\" is not an address and a port such as 127.0.0.1:10249 or [::1]:10249");
}

Result<LoadedConfig> load_config(const ConfigSources& sources) {
  auto command_line = read_command_line(sources.arguments);
  if (!command_line) return tl::unexpected(command_line.error());
  LoadedConfig loaded;
  loaded.wish = command_line->wish;
  if (loaded.wish == Wish::help || loaded.wish == Wish::version) return loaded;

  loaded.file = command_line->file;
  auto environment = read_environment(sources, loaded.file);
  if (!environment) return tl::unexpected(environment.error());
  std::error_code ignored;
  if (loaded.file.empty() && std::filesystem::exists(sources.default_file, ignored)) {
    loaded.file = sources.default_file;
  }
  Layer all;
  if (!loaded.file.empty()) {
    auto file = read_file(loaded.file);
    if (!file) return tl::unexpected(file.error());
    all = std::move(*file);
  }
  // Every value is checked, also one that a stronger place replaces.
  for (Layer* stronger : {&*environment, &command_line->layer}) {
    Config scratch;
    if (const auto done = set_all(scratch, all); !done) return tl::unexpected(done.error());
    for (auto& [key, given] : *stronger) all[key] = std::move(given);
  }
  if (const auto done = set_all(loaded.config, all); !done) return tl::unexpected(done.error());
  if (const auto done = check_together(loaded.config, all); !done) {
    return tl::unexpected(done.error());
  }
  loaded.config.in_force = in_force(loaded.config, all);
  return loaded;
}

std::vector<OptionInfo> config_options() {
  std::vector<OptionInfo> result;
  for (const Option& option : table()) {
    result.push_back({option.name, option.default_text, option.help});
  }
  return result;
}

std::string config_help() {
  std::ostringstream out;
  out << "podwired " << kVersion << ": moves pod traffic of a Kubernetes node in user space.\n\n"
      << descriptions() << "\nEvery key may stand in the file (key = value), in the environment "
      << "(PODWIRE_KEY with _ for -)\nand on the command line; the later of these is the stronger. "
      << "A list is separated by commas\nor given several times.\n";
  return out.str();
}

Started start_config(int argc, char** argv) {
  ConfigSources sources;
  for (int i = 1; i < argc; ++i) sources.arguments.emplace_back(argv[i]);
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    const std::string pair = *variable;
    const auto equals = pair.find('=');
    if (equals != std::string::npos) {
      sources.environment.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
    }
  }
  auto loaded = load_config(sources);
  if (!loaded) {
    std::fprintf(stderr, "podwired: %s\n", loaded.error().message.c_str());
    return {{}, true, 1};
  }
  switch (loaded->wish) {
    case Wish::help:
      std::fputs(config_help().c_str(), stdout);
      return {{}, true, 0};
    case Wish::version:
      std::printf("podwired %s\n", kVersion);
      return {{}, true, 0};
    case Wish::check:
      std::puts("ok");
      return {std::move(loaded->config), true, 0};
    case Wish::run:
      break;
  }
  return {std::move(loaded->config), false, 0};
}

}  // namespace podwire::control
