#include "control/ipam/tunnel_address.h"

#include <algorithm>
#include <utility>

#include "control/ipam/pools.h"
#include "control/log.h"

namespace podwire::control {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using Why = ObjectFailure::Why;

constexpr ObjectType kNodes{"v1", "nodes", "Node"};
constexpr std::chrono::milliseconds kWait = 10s;  // before it is tried again

bool lies_in(const std::vector<BlockIpam::Pool>& pools, const net::Address& address) {
  return std::ranges::any_of(
      pools, [&](const BlockIpam::Pool& pool) { return pool.cidr.contains(address); });
}

}  // namespace

TunnelAddress::TunnelAddress(State& state, LoopHooks hooks, BlockIpam& blocks, ClientOf client)
    : state_(state),
      hooks_(std::move(hooks)),
      blocks_(blocks),
      client_(std::move(client)),
      handle_("ipip-tunnel-addr-" + state.config.node_name) {}

std::vector<BlockIpam::Pool> TunnelAddress::pools() const {
  std::vector<BlockIpam::Pool> fit;
  for (const kube::IpPool* pool : tunnel_pools(state_.store, state_.config.node_name)) {
    fit.emplace_back(*pool);
  }
  return fit;
}

std::set<net::Address> TunnelAddress::held() const {
  std::set<net::Address> all;
  for (const auto& [name, block] : state_.store.ipam_blocks) {
    for (const kube::IpamBlock::Allocation& one : block.allocations) {
      if (one.handle == handle_) all.insert(one.address);
    }
  }
  if (given_) all.insert(*given_);
  return all;
}

void TunnelAddress::follow() {
  const auto node = state_.store.nodes.find(state_.config.node_name);
  if (busy_ || !state_.store.synced || node == state_.store.nodes.end()) return;
  auto fit = pools();
  const std::set<net::Address> ours = held();
  const std::optional<net::Address>& announced = node->second.tunnel_v4;
  const auto usable = std::ranges::find_if(
      ours, [&](const net::Address& address) { return lies_in(fit, address); });
  if (announced && ours.contains(*announced) && lies_in(fit, *announced)) return;
  if (fit.empty() && ours.empty() && !announced) return;
  busy_ = true;
  if (usable != ours.end()) return announce(*usable);
  // Of a pool that is no more, or that does not encapsulate any more.
  if (!ours.empty()) return give_back({ours.begin(), ours.end()});
  if (fit.empty()) return announce(std::nullopt);
  assign(std::move(fit));
}

void TunnelAddress::assign(std::vector<BlockIpam::Pool> from) {
  BlockIpam::Ask ask;
  ask.handle = handle_;
  ask.attributes = {{"node", state_.config.node_name}, {"type", "ipipTunnelAddress"}};
  ask.pools = std::move(from);
  blocks_.assign(std::move(ask), [this](const auto& given) {
    if (!given) {
      // It may have one all the same, of which no answer came.
      blocks_.release({handle_, {}}, nullptr);
      return failed(given.error().sentence);
    }
    given_ = *given;
    announce(*given);
  });
}

void TunnelAddress::give_back(std::vector<net::Address> hints) {
  blocks_.release({handle_, std::move(hints)}, [this](bool freed) {
    if (!freed) return failed("address of before could not be given back");
    given_.reset();
    announce(std::nullopt);
  });
}

void TunnelAddress::announce(const std::optional<net::Address>& address) {
  ObjectClient* const client = client_();
  if (client == nullptr) return failed("no API server");
  const auto written = [this, alive = std::weak_ptr(alive_)](const ObjectClient::Answer& answer) {
    if (alive.expired()) return;
    // Changed by another since it was read: the change brings us back here.
    if (!answer && answer.error().why != Why::conflict) return failed(answer.error().sentence);
    ended();
  };
  client->get(kNodes, state_.config.node_name,
              [this, address, written, alive = std::weak_ptr(alive_)](ObjectClient::Answer node) {
                if (alive.expired()) return;
                if (!node) return failed(node.error().sentence);
                json& annotations = (*node)["metadata"]["annotations"];
                const json wanted = address ? json(address->to_string()) : json(nullptr);
                const json now = annotations.is_object()
                                     ? annotations.value(kube::kTunnelAddress, json())
                                     : json(nullptr);
                ObjectClient* const writer = client_();
                if (now == wanted) return ended();
                if (writer == nullptr) return failed("no API server");
                if (address) {
                  annotations[kube::kTunnelAddress] = wanted;
                } else {
                  annotations.erase(kube::kTunnelAddress);
                }
                writer->replace(kNodes, *node, written);
              });
}

void TunnelAddress::ended() {
  state_.tunnel_trouble.clear();
  busy_ = false;
}

void TunnelAddress::failed(const std::string& sentence) {
  const std::string text = "Node " + state_.config.node_name + ": tunnel address: " + sentence;
  if (std::exchange(state_.tunnel_trouble, text) != text) log(LogLevel::warning, text);
  if (!hooks_.later) {
    busy_ = false;
    return;
  }
  hooks_.later(kWait, [this, alive = std::weak_ptr(alive_)] {
    if (alive.expired()) return;
    busy_ = false;
    follow();
  });
}

}  // namespace podwire::control
