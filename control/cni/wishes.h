// What an ADD may ask for beside an address and a kernel interface, as the plugin passes it on and
// as records keep it. Of the CNI specification's conventions (CONVENTIONS.md): the capabilities
// ips, mac, portMappings and bandwidth; of its section 4, what a delegated IPAM plugin has given.
// Texts are not interpreted here: podwired checks them (control/cni/asked.h). Any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace podwire::cni {

struct Route {
  std::string to;  // "10.0.0.0/8"; always by way of podwire, whatever gateway was named
  std::uint32_t mtu = 0, advmss = 0, priority = 0, table = 0;  // 0: the kernel's own choice
  bool operator==(const Route&) const = default;
};

struct PortMapping {
  std::string host_ip;  // empty: every address on which node ports are served
  std::string protocol = "tcp";
  std::uint16_t host_port = 0, container_port = 0;
  bool operator==(const PortMapping&) const = default;
};

// Bits a second, and bits; 0 and 0: no limit. Ingress is towards the pod.
struct Bandwidth {
  std::uint64_t ingress_rate = 0, ingress_burst = 0, egress_rate = 0, egress_burst = 0;
  bool operator==(const Bandwidth&) const = default;
};

// The kind of a pod's port and its options: `port` of the configuration, or a pod's annotation.
// Empty and 0: podwired's choice.
struct PortWish {
  std::string kind;    // "tap", "vhost-user", "memif"
  std::string role;    // podwire's side of a memif: "server", "client"
  std::string socket;  // "@name", "/folder/" for one a pod, or "/path/of/the/socket"
  std::string mode;    // of a socket in the file system, or its folder: "0660"
  std::uint32_t owner = 0, group = 0;
  std::uint32_t queues = 0, ring_size = 0;
  std::uint16_t mtu = 0;
  bool operator==(const PortWish&) const = default;
};

struct Wishes {
  std::vector<std::string> addresses;  // "10.0.0.5"; at most one a family
  bool delegated = false;              // an IPAM plugin answers for them: they may be of any range
  std::vector<Route> routes;           // empty: a default route
  std::string mac;
  std::vector<PortMapping> port_mappings;
  Bandwidth bandwidth;
  PortWish port;
  // Of the node's, which the pod was given (capability deviceID): where ports that are no kernel
  // interface are counted by a device plugin, it stands for one of them.
  std::string device;
  bool operator==(const Wishes&) const = default;
};

inline nlohmann::json to_json(const PortWish& p) {
  return {{"kind", p.kind},     {"role", p.role},          {"socket", p.socket},
          {"mode", p.mode},     {"owner", p.owner},        {"group", p.group},
          {"queues", p.queues}, {"ringSize", p.ring_size}, {"mtu", p.mtu}};
}

inline nlohmann::json to_json(const Bandwidth& b) {
  return {{"ingressRate", b.ingress_rate},
          {"ingressBurst", b.ingress_burst},
          {"egressRate", b.egress_rate},
          {"egressBurst", b.egress_burst}};
}

inline nlohmann::json to_json(const Wishes& w) {
  using nlohmann::json;
  json all{{"addresses", w.addresses}, {"delegated", w.delegated}, {"mac", w.mac}};
  all["device"] = w.device;
  all["port"] = to_json(w.port);
  all["bandwidth"] = to_json(w.bandwidth);
  all["routes"] = all["portMappings"] = json::array();
  for (const Route& r : w.routes) {
    all["routes"].push_back({{"dst", r.to},
                             {"mtu", r.mtu},
                             {"advmss", r.advmss},
                             {"priority", r.priority},
                             {"table", r.table}});
  }
  for (const PortMapping& p : w.port_mappings) {
    all["portMappings"].push_back({{"hostIP", p.host_ip},
                                   {"protocol", p.protocol},
                                   {"hostPort", p.host_port},
                                   {"containerPort", p.container_port}});
  }
  return all;
}

namespace detail {

// Fills in what is there. `error`, once set, stays: the first thing that is wrong counts.
class Reader {
 public:
  Reader(const nlohmann::json& json, std::string place, std::string& error)
      : json_(json), place_(std::move(place)), error_(error) {
    if (!json_.is_object()) fail("", "is not an object");
  }
  void text(const char* key, std::string& into) {
    const auto* found = find(key);
    if (found == nullptr) return;
    if (!found->is_string()) return fail(key, "is not a string");
    into = found->get<std::string>();
    if (into.find('\0') != std::string::npos) fail(key, "holds a zero byte");
  }
  void truth(const char* key, bool& into) {
    const auto* found = find(key);
    if (found == nullptr) return;
    if (!found->is_boolean()) return fail(key, "is neither true nor false");
    into = found->get<bool>();
  }
  template <typename Number>
  void number(const char* key, Number& into) {
    const auto* found = find(key);
    if (found == nullptr) return;
    if (!found->is_number_unsigned() || found->get<std::uint64_t>() > Number(-1)) {
      return fail(key, found->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) +
                           " is not a number from 0 to " + std::to_string(Number(-1)));
    }
    into = found->get<Number>();
  }
  // `each(item, place)` for every item of a list.
  template <typename Each>
  void list(const char* key, Each&& each) {
    const auto* found = find(key);
    if (found == nullptr) return;
    if (!found->is_array()) return fail(key, "is not a list");
    for (std::size_t i = 0; i < found->size(); ++i) {
      each((*found)[i], name(key) + "[" + std::to_string(i) + "]");
    }
  }
  void texts(const char* key, std::vector<std::string>& into) {
    list(key, [&](const nlohmann::json& item, const std::string& place) {
      if (item.is_string() && item.get<std::string>().find('\0') == std::string::npos) {
        into.push_back(item.get<std::string>());
      } else if (error_.empty()) {
        error_ = place + " is not a string";
      }
    });
  }
  [[nodiscard]] const nlohmann::json* find(const char* key) const {
    if (!json_.is_object()) return nullptr;
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  [[nodiscard]] std::string name(const char* key) const {
    return place_.empty() || *key == 0 ? place_ + key : place_ + "." + key;
  }

 private:
  void fail(const char* key, const std::string& what) {
    if (error_.empty()) error_ = name(key) + " " + what;
  }
  const nlohmann::json& json_;
  std::string place_;
  std::string& error_;
};

}  // namespace detail

// The capabilities as runtimes write them, and as to_json() does.
inline Bandwidth read_bandwidth(const nlohmann::json& json, const std::string& place,
                                std::string& error) {
  Bandwidth bandwidth;
  detail::Reader read(json, place, error);
  read.number("ingressRate", bandwidth.ingress_rate);
  read.number("ingressBurst", bandwidth.ingress_burst);
  read.number("egressRate", bandwidth.egress_rate);
  read.number("egressBurst", bandwidth.egress_burst);
  return bandwidth;
}

inline PortMapping read_port_mapping(const nlohmann::json& json, const std::string& place,
                                     std::string& error) {
  PortMapping mapping;
  detail::Reader read(json, place, error);
  read.text("hostIP", mapping.host_ip);
  read.text("protocol", mapping.protocol);
  read.number("hostPort", mapping.host_port);
  read.number("containerPort", mapping.container_port);
  return mapping;
}

inline Route read_route(const nlohmann::json& json, const std::string& place, std::string& error) {
  Route route;
  detail::Reader read(json, place, error);
  read.text("dst", route.to);
  read.number("mtu", route.mtu);
  read.number("advmss", route.advmss);
  read.number("priority", route.priority);
  read.number("table", route.table);
  return route;
}

// One word, or an object. `wish` keeps what is not named. People write it: an option that does not
// exist is an error.
inline void read_port_wish(const nlohmann::json& json, const std::string& place, PortWish& wish,
                           std::string& error) {
  if (json.is_string()) {
    wish.kind = json.get<std::string>();
    return;
  }
  detail::Reader read(json, place, error);
  read.text("kind", wish.kind);
  read.text("role", wish.role);
  read.text("socket", wish.socket);
  read.text("mode", wish.mode);
  read.number("owner", wish.owner);
  read.number("group", wish.group);
  read.number("queues", wish.queues);
  read.number("ringSize", wish.ring_size);
  read.number("mtu", wish.mtu);
  if (!json.is_object()) return;
  const nlohmann::json known = to_json(wish);
  for (const auto& item : json.items()) {
    if (error.empty() && !known.contains(item.key())) {
      error = place + "." + item.key() + " is no option of a port";
    }
  }
}

// What is missing keeps its default; unknown keys are left alone.
inline Wishes read_wishes(const nlohmann::json& json, std::string& error) {
  Wishes w;
  detail::Reader read(json, "wishes", error);
  read.texts("addresses", w.addresses);
  read.truth("delegated", w.delegated);
  read.text("mac", w.mac);
  read.text("device", w.device);
  if (const auto* bandwidth = read.find("bandwidth")) {
    w.bandwidth = read_bandwidth(*bandwidth, "wishes.bandwidth", error);
  }
  if (const auto* port = read.find("port")) read_port_wish(*port, "wishes.port", w.port, error);
  read.list("routes", [&](const nlohmann::json& item, const std::string& place) {
    w.routes.push_back(read_route(item, place, error));
  });
  read.list("portMappings", [&](const nlohmann::json& item, const std::string& place) {
    w.port_mappings.push_back(read_port_mapping(item, place, error));
  });
  return w;
}

}  // namespace podwire::cni
