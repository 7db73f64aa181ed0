#include "control/routes/node_ports.h"

#include <nftables/libnftables.h>

#include <algorithm>
#include <memory>

#include "control/linux_state.h"
#include "control/log.h"
#include "dataplane/result.h"

namespace podwire::control::routes {
namespace {

// A name that nft's language takes without quotes.
std::string table_name(std::string host_tap) {
  std::ranges::replace_if(
      host_tap, [](unsigned char c) { return std::isalnum(c) == 0 && c != '-' && c != '_'; }, '_');
  return "podwire-" + host_tap;
}

Result<void> run(const std::string& script) {
  const std::unique_ptr<nft_ctx, void (*)(nft_ctx*)> nft(nft_ctx_new(NFT_CTX_DEFAULT),
                                                         nft_ctx_free);
  if (nft == nullptr) return fail("nftables cannot be reached");
  nft_ctx_buffer_output(nft.get());
  nft_ctx_buffer_error(nft.get());
  if (nft_run_cmd_from_buffer(nft.get(), script.c_str()) == 0) return {};
  const std::string error = nft_ctx_get_error_buffer(nft.get());
  return fail(error.substr(0, error.find('\n')));
}

const char* protocol_name(std::uint8_t protocol) {
  return protocol == 6 ? "tcp" : protocol == 17 ? "udp" : "sctp";
}

std::string elements(const std::set<std::string>& all) {
  std::string text;
  for (const std::string& one : all) text += (text.empty() ? "elements = { " : ", ") + one;
  return text.empty() ? text : text + " }";
}

// Addresses of a family on which node ports are served, and the ports themselves.
struct Served {
  std::set<std::string> addresses, ports;
};
Served served_in(net::Family family, const tables::ServiceTable& services) {
  Served served;
  for (const net::Address& address : services.node_port_addresses) {
    if (address.family() == family && address != node_port_address(family)) {
      served.addresses.insert(address.to_string());
    }
  }
  services.frontends.for_each([&](const tables::FrontendKey& key, const tables::Frontend& f) {
    if (f.kind != tables::FrontendKind::node_port || key.address.family() != family) return;
    served.ports.insert(std::string(protocol_name(key.protocol)) + " . " +
                        std::to_string(key.port.host()));
  });
  return served;
}

std::string sets(const std::string& number, const std::string& type, const Served& served) {
  return "  set addresses" + number + " { type " + type + "; " + elements(served.addresses) +
         " }\n  set ports" + number + " { type inet_proto . inet_service; " +
         elements(served.ports) + " }\n";
}

// Ports at one address go to the pod itself: another pod may have the same port at another address.
std::string rules_of(const std::vector<Attachment>& pods) {
  std::set<std::string> rules;
  for (const Attachment& pod : pods) {
    for (const HostPort& port : pod.host_ports) {
      for (const net::Address& ip : pod.ips) {
        if (!port.address || port.address->family() != ip.family()) continue;
        const std::string family = ip.is_v4() ? "ip" : "ip6";
        const std::string to = ip.is_v4() ? ip.to_string() : "[" + ip.to_string() + "]";
        rules.insert("    " + family + " daddr " + port.address->to_string() + " " +
                     protocol_name(port.protocol) + " dport " + std::to_string(port.host_port) +
                     " dnat " + family + " to " + to + ":" + std::to_string(port.pod_port) + "\n");
      }
    }
  }
  std::string text;
  for (const std::string& rule : rules) text += rule;
  return text;
}

}  // namespace

NodePorts::NodePorts(std::string host_tap)
    : table_(table_name(host_tap)), host_tap_(std::move(host_tap)) {}

// One transaction: the table is there before and after, and what is connected stays connected.
std::string NodePorts::script(const tables::ServiceTable& services,
                              const std::vector<Attachment>& pods) const {
  const std::string table = "table inet " + table_;
  const std::string dnat4 = " meta l4proto . th dport @ports4 dnat ip to " +
                            node_port_address(net::Family::v4).to_string() + "\n";
  const std::string dnat6 = " meta l4proto . th dport @ports6 dnat ip6 to " +
                            node_port_address(net::Family::v6).to_string() + "\n";
  return "add " + table + "\ndelete " + table + "\n" + table + " {\n" +
         sets("4", "ipv4_addr", served_in(net::Family::v4, services)) +
         sets("6", "ipv6_addr", served_in(net::Family::v6, services)) +
         "  chain output { type nat hook output priority -100; policy accept;\n" + rules_of(pods) +
         "    ip daddr @addresses4" + dnat4 + "    ip daddr 127.0.0.0/8" + dnat4 +
         "    ip6 daddr @addresses6" + dnat6 +
         "  }\n"
         // From 127.0.0.1 nothing may be sent and no answer would come back.
         "  chain postrouting { type nat hook postrouting priority srcnat; policy accept;\n"
         "    oifname \"" +
         host_tap_ +
         "\" ip saddr 127.0.0.0/8 masquerade\n"
         "  }\n"
         // The host tap lets 127.0.0.1 in and out for that (route_localnet): for nothing else.
         "  chain prerouting { type filter hook prerouting priority raw; policy accept;\n"
         "    iifname \"" +
         host_tap_ + "\" ip daddr 127.0.0.0/8 drop\n  }\n}\n";
}

void NodePorts::follow(const tables::ServiceTable& services, const std::vector<Attachment>& pods,
                       const Changes& changes) {
  std::vector<HostPort> host_ports;
  for (const Attachment& pod : pods) {
    host_ports.insert(host_ports.end(), pod.host_ports.begin(), pod.host_ports.end());
  }
  const bool same_pods = host_ports == host_ports_;
  if (!in_force_.empty() && changes.services.empty() && !changes.nodes && same_pods) return;
  host_ports_ = std::move(host_ports);
  const std::string wanted = script(services, pods);
  if (wanted == in_force_) return;
  if (const auto done = run(wanted); !done) {
    if (refused_ != done.error().message) {
      refused_ = done.error().message;
      log(LogLevel::warning,
          "the node itself cannot use its node ports: nftables refuses the table " + table_ + ": " +
              refused_);
    }
    return;
  }
  in_force_ = wanted;
  refused_.clear();
}

void NodePorts::remove() {
  in_force_.clear();
  const std::string table = "table inet " + table_ + "\n";
  if (const auto done = run("add " + table + "delete " + table); !done && refused_.empty()) {
    log(LogLevel::warning, "nftables keeps the table " + table_ + ": " + done.error().message);
  }
}

}  // namespace podwire::control::routes
