#include "control/denial_log.h"

#include <algorithm>
#include <string>

#include "control/log.h"

namespace podwire::control {
namespace {

// "10.244.1.5 (shop/web-0)". A scan is fine at the rate of the log.
std::string named(const Store& store, const net::Address& address) {
  const auto pod = std::ranges::find_if(store.pods, [&](const auto& named_pod) {
    const kube::Pod& p = named_pod.second;
    return !p.finished && !p.host_network && std::ranges::find(p.ips, address) != p.ips.end();
  });
  return address.to_string() + (pod == store.pods.end() ? "" : " (" + pod->first + ")");
}

std::string protocol_name(std::uint8_t protocol) {
  switch (protocol) {
    case 1:
    case 58:
      return "ICMP";
    case 6:
      return "TCP";
    case 17:
      return "UDP";
    case 132:
      return "SCTP";
    default:
      return "protocol " + std::to_string(protocol);
  }
}

}  // namespace

void DenialLog::flush() {
  const auto now = std::chrono::steady_clock::now();
  if (now - second_ < std::chrono::seconds(1)) return;
  second_ = now;
  written_ = 0;
  if (left_out_ == 0) return;
  log(LogLevel::info, "policy refused " + std::to_string(left_out_) + " more flows");
  left_out_ = 0;
}

void DenialLog::tell(const tables::PolicyTable& policies, const Store& store,
                     const observe::Event& event) {
  flush();
  if (written_ == kPerSecond) {
    ++left_out_;
    return;
  }
  ++written_;
  const std::uint16_t port = event.port.host();
  log(LogLevel::info, "policy " + policies.policy_name(event.policy) + " refused " +
                          protocol_name(event.protocol) + " from " + named(store, event.source) +
                          " to " + named(store, event.address) +
                          (port == 0 ? "" : " port " + std::to_string(port)));
}

}  // namespace podwire::control
