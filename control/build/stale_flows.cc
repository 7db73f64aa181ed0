// Which UDP flows a change of endpoints leaves stale (pkg/proxy/conntrack/cleanup.go).
#include <utility>

#include "control/build/services.h"

namespace podwire::control::build {
namespace {

constexpr std::uint8_t kUdp = 17;
using Place = std::pair<net::Address, std::uint16_t>;
using Places = std::set<Place>;

}  // namespace

struct ServicesBuilder::Stale {
  std::map<Place, std::shared_ptr<const Places>> by_address;
  std::map<std::pair<net::Family, std::uint16_t>, std::shared_ptr<const Places>> by_node_port;

  [[nodiscard]] bool ends(const observe::FlowRow& flow) const {
    if (flow.protocol != kUdp) return false;
    const Place server{flow.reply_source, flow.reply_source_port.host()};
    const std::uint16_t port = flow.destination_port.host();
    if (const auto found = by_address.find({flow.destination, port}); found != by_address.end()) {
      if (!found->second->contains(server)) return true;
    }
    const auto found = by_node_port.find({flow.destination.family(), port});
    return found != by_node_port.end() && !found->second->contains(server);
  }
};

// Every flow whose original destination is a UDP frontend of the Service and whose reply source is
// no serving endpoint of it. Traffic policy, topology and readiness do not matter, and a Service
// without a serving endpoint keeps its flows.
std::function<bool(const observe::FlowRow&)> ServicesBuilder::stale_flows(
    const Store& store, const std::set<std::string>& names, const SliceIndex& slices) const {
  auto stale = std::make_shared<Stale>();
  for (const std::string& name : names) {
    const auto found = store.services.find(name);
    const auto of_service = slices.find(name);
    if (found == store.services.end() || of_service == slices.end()) continue;
    const kube::Service& service = found->second;
    if (service.type == kube::Service::Type::external_name) continue;
    for (const kube::ServicePort& port : service.ports) {
      if (port.protocol != kUdp) continue;
      for (const net::Family family : net::kFamilies) {
        auto serving = std::make_shared<Places>();
        for (const kube::EndpointSlice* slice : of_service->second) {
          for (const kube::EndpointPort& p : slice->ports) {
            if (p.name != port.name || p.protocol != kUdp || p.port == 0) continue;
            for (const kube::Endpoint& e : slice->endpoints) {
              if (e.serving && e.address.family() == family) serving->insert({e.address, p.port});
            }
          }
        }
        if (serving->empty()) continue;
        for (const auto* ips :
             {&service.cluster_ips, &service.external_ips, &service.load_balancer_ips}) {
          for (const net::Address& ip : *ips) {
            if (ip.family() == family) stale->by_address[{ip, port.port}] = serving;
          }
        }
        if (port.node_port != 0) stale->by_node_port[{family, port.node_port}] = serving;
      }
    }
  }
  if (stale->by_address.empty() && stale->by_node_port.empty()) return nullptr;
  return [stale = std::move(stale)](const observe::FlowRow& flow) { return stale->ends(flow); };
}

}  // namespace podwire::control::build
