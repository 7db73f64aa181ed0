#include "control/cni/asked.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace podwire::control {
namespace {

constexpr std::pair<const char*, std::uint8_t> kProtocols[] = {
    {"tcp", 6}, {"udp", 17}, {"sctp", 132}};

std::uint8_t protocol_number(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const auto& [known, number] : kProtocols) {
    if (name == known) return number;
  }
  return 0;
}

Result<net::Mac> read_mac(const std::string& text) {
  const auto mac = net::Mac::parse(text);
  if (!mac) return fail("mac \"" + text + "\" is not an Ethernet address");
  if (mac->is_multicast() || mac->is_zero()) return fail("mac " + text + " is no interface's");
  if (*mac == net::kGatewayMac) return fail("mac " + text + " is that of podwire's gateway");
  return *mac;
}

Result<HostPort> read_host_port(const cni::PortMapping& mapping) {
  const std::string place = "portMappings: hostPort " + std::to_string(mapping.host_port);
  HostPort port;
  port.protocol = protocol_number(mapping.protocol);
  port.host_port = mapping.host_port;
  port.pod_port = mapping.container_port;
  if (port.protocol == 0) {
    return fail(place + ": protocol \"" + mapping.protocol + "\" is none of tcp, udp, sctp");
  }
  if (mapping.host_port == 0) return fail(place + ": is not a port");
  if (mapping.container_port == 0) return fail(place + ": containerPort 0 is not a port");
  if (mapping.host_ip.empty()) return port;
  const auto address = net::Address::parse(mapping.host_ip);
  if (!address) return fail(place + ": hostIP \"" + mapping.host_ip + "\" is not an address");
  if (!address->is_unspecified()) port.address = *address;
  return port;
}

constexpr std::uint64_t kMostBurstBits = 8 * std::uint64_t{0xffffffff};  // tbf's, in bytes 32 bits

// As the bandwidth plugin of containernetworking/plugins checks it; the least rate is the
// kubelet's.
Result<void> check_bandwidth(const char* direction, std::uint64_t rate, std::uint64_t burst) {
  const std::string name = std::string("bandwidth.") + direction;
  if (rate != 0 && burst == 0) {
    return fail(name + "Rate: " + std::to_string(rate) + " without " + name + "Burst");
  }
  if (rate == 0 && burst != 0) {
    return fail(name + "Burst: " + std::to_string(burst) + " without " + name + "Rate");
  }
  if (rate != 0 && rate < tables::RateLimit::kLeastBits) {
    return fail(name + "Rate: " + std::to_string(rate) + " bits a second; the least is " +
                std::to_string(tables::RateLimit::kLeastBits));
  }
  if (burst >= kMostBurstBits) {
    return fail(name + "Burst: " + std::to_string(burst) + " bits; it has to be less than " +
                std::to_string(kMostBurstBits));
  }
  return {};
}

}  // namespace

std::shared_ptr<tables::PortLimits> limits_of(const cni::Bandwidth& bandwidth,
                                              std::uint64_t cycles_per_second) {
  const auto limit = [&](std::uint64_t rate, std::uint64_t burst) {
    // No port carries more than the highest rate.
    return rate == 0 ? nullptr
                     : std::make_unique<tables::RateLimit>(
                           std::min(rate, tables::RateLimit::kMostBits), burst, cycles_per_second);
  };
  if (bandwidth == cni::Bandwidth{}) return nullptr;
  auto limits = std::make_shared<tables::PortLimits>();
  limits->to_pod = limit(bandwidth.ingress_rate, bandwidth.ingress_burst);
  limits->from_pod = limit(bandwidth.egress_rate, bandwidth.egress_burst);
  return limits;
}

Result<void> carry_over(const cni::Wishes& wishes, Attachment& attachment) {
  if (!wishes.mac.empty()) {
    const auto mac = read_mac(wishes.mac);
    if (!mac) return fail(mac.error().message);
    attachment.mac = *mac;
  }
  for (const cni::Route& route : wishes.routes) {
    const auto to = net::Prefix::parse(route.to);
    if (!to) return fail("routes: dst \"" + route.to + "\" is not a prefix");
    attachment.routes.push_back({*to, route.mtu, route.advmss, route.priority, route.table});
  }
  for (const cni::PortMapping& mapping : wishes.port_mappings) {
    const auto port = read_host_port(mapping);
    if (!port) return fail(port.error().message);
    const auto contradicts = [&](const HostPort& other) {
      return !apart(*port, other) && !(*port == other);
    };
    const auto& ports = attachment.host_ports;
    if (std::any_of(ports.begin(), ports.end(), contradicts)) {
      return fail("portMappings: " + to_string(*port) + " is there twice");
    }
    attachment.host_ports.push_back(*port);
  }
  const cni::Bandwidth& asked = wishes.bandwidth;
  auto good = check_bandwidth("ingress", asked.ingress_rate, asked.ingress_burst);
  return good ? check_bandwidth("egress", asked.egress_rate, asked.egress_burst) : good;
}

Result<std::vector<net::Address>> asked_addresses(const cni::Wishes& wishes) {
  std::vector<net::Address> addresses;
  for (const std::string& text : wishes.addresses) {
    const auto address = net::Address::parse(text);
    if (!address) return fail("ips: \"" + text + "\" is not an address");
    if (address->is_unspecified() || address->is_multicast() || address->is_loopback() ||
        address->is_link_local()) {
      return fail("ips: " + text + " cannot be a pod's");
    }
    for (const net::Address& other : addresses) {
      if (other.family() == address->family()) {
        return fail("ips: " + other.to_string() + " and " + text +
                    " are of one family: a port has one address of each");
      }
    }
    addresses.push_back(*address);
  }
  return addresses;
}

bool apart(const HostPort& a, const HostPort& b) {
  if (a.protocol != b.protocol || a.host_port != b.host_port) return true;
  return a.address && b.address && *a.address != *b.address;
}

std::string to_string(const HostPort& port) {
  std::string text = std::to_string(port.host_port);
  for (const auto& [name, number] : kProtocols) {
    if (number == port.protocol) text += std::string("/") + name;
  }
  if (!port.address) return text;
  const std::string address = port.address->to_string();
  return (port.address->is_v4() ? address : "[" + address + "]") + ":" + text;
}

}  // namespace podwire::control
