#include "control/explain/other_nodes.h"

#include <algorithm>

namespace podwire::control::explain {
namespace {

constexpr std::size_t kMostServices = 10'000;

// All of the pod's, also when the question names one of them.
const std::vector<net::Address>& addresses_of(const End& end) {
  return end.pod->ips.empty() ? end.addresses : end.pod->ips;
}

}  // namespace

void OtherNodes::forget() {
  chosen_.store = Store{};
  chosen_.writer.take_changes();
  builder_ = nullptr;
  attachments_.clear();
  namespaces_.clear();
  classes_.clear();
  class_by_end_.clear();
  blocks_.reset();
  services_.clear();
}

void OtherNodes::add_namespace(const std::string& ns) {
  if (!namespaces_.insert(ns).second) return;
  if (const auto found = store_.namespaces.find(ns); found != store_.namespaces.end()) {
    chosen_.writer.put(found->second);
  }
  for (auto place = store_.network_policies.lower_bound(ns + "/");
       place != store_.network_policies.end() && place->second.meta.ns == ns; ++place) {
    chosen_.writer.put(place->second);
  }
}

void OtherNodes::index_blocks() {
  if (blocks_) return;
  blocks_.emplace();
  for (const auto& [name, policy] : store_.network_policies) {
    for (const auto* rules : {&policy.ingress, &policy.egress}) {
      for (const kube::PolicyRule& rule : *rules) {
        for (const kube::PolicyPeer& peer : rule.peers) {
          if (!peer.ip_block) continue;
          blocks_->set(peer.ip_block->cidr, peer.ip_block->cidr);
          for (const net::Prefix& except : peer.ip_block->except) blocks_->set(except, except);
        }
      }
    }
  }
  for (const auto& [name, policy] : store_.cluster_network_policies) {
    for (const auto* rules : {&policy.ingress, &policy.egress}) {
      for (const kube::ClusterPolicyRule& rule : *rules) {
        for (const kube::ClusterPolicyPeer& peer : rule.peers) {
          for (const net::Prefix& network : peer.networks) blocks_->set(network, network);
        }
      }
    }
  }
}

// Labels, names and prefixes hold no line's end.
std::string OtherNodes::class_of(const End& end) const {
  const kube::Pod& pod = *end.pod;
  std::string key = pod.meta.ns + "\n";
  for (const auto& [name, value] : pod.meta.labels) key += name + "=" + value + "\n";
  for (const kube::ContainerPort& port : pod.ports) {
    key += port.name + ":" + std::to_string(port.protocol) + ":" + std::to_string(port.port) + "\n";
  }
  for (const net::Address& ip : addresses_of(end)) {
    const net::Prefix* block = blocks_->find(ip);
    key += ip.is_v4() ? "4 " : "6 ";
    if (block != nullptr) key += block->to_string();
    key += "\n";
  }
  return key;
}

void OtherNodes::attach(const End& end) {
  add_namespace(end.pod->meta.ns);
  kube::Pod pod = *end.pod;
  pod.ips = addresses_of(end);
  Attachment attachment;
  attachment.pod = end.name;
  attachment.ips = pod.ips;
  chosen_.writer.put(std::move(pod));
  attachments_.push_back(std::move(attachment));
}

std::pair<net::Address, net::Address> OtherNodes::stand_ins(const End& from,
                                                            const net::Address& source,
                                                            const End& to,
                                                            const net::Address& to_address) const {
  if (source == to_address) return {source, to_address};
  const auto a = class_by_end_.find(&from);
  const auto b = class_by_end_.find(&to);
  const bool alike = a != class_by_end_.end() && b != class_by_end_.end() && a->second == b->second;
  const auto stand_in = [](const End& pod, const net::Address& address, const End& other) {
    const auto& own = addresses_of(pod);
    const auto place = static_cast<std::size_t>(std::ranges::find(own, address) - own.begin());
    return place < own.size() ? addresses_of(other)[place] : address;
  };
  std::pair<net::Address, net::Address> asked{source, to_address};
  if (a != class_by_end_.end()) asked.first = stand_in(from, source, *a->second->first);
  if (b != class_by_end_.end()) {
    const Class& its = *b->second;
    asked.second = stand_in(to, to_address, alike && its.second ? *its.second : *its.first);
  }
  return asked;
}

void OtherNodes::add(const std::vector<const End*>& pods) {
  const auto known = [&](const End* end) { return class_by_end_.contains(end); };
  if (std::ranges::all_of(pods, known)) return;
  if (attachments_.size() > most_pods_) forget();
  index_blocks();
  const std::size_t before = attachments_.size();
  for (const End* end : pods) {
    if (known(end)) continue;
    Class& its = classes_[class_of(*end)];
    class_by_end_.emplace(end, &its);
    if (its.first != nullptr && (its.second != nullptr || its.first->pod == end->pod)) continue;
    (its.first == nullptr ? its.first : its.second) = end;
    attach(*end);
  }
  if (attachments_.size() == before && policies_ != nullptr) return;
  if (builder_ == nullptr) {
    builder_ = std::make_unique<build::PoliciesBuilder>();
    for (const auto& [name, policy] : store_.cluster_network_policies) chosen_.writer.put(policy);
  }
  const Changes changes = chosen_.writer.take_changes();
  const LinuxState linux_state;
  policies_ = builder_
                  ->build({chosen_.store,
                           changes,
                           attachments_,
                           true,
                           linux_state,
                           false,
                           nullptr,
                           nullptr,
                           {}})
                  .table;
}

const tables::ServiceTable& OtherNodes::services(const kube::Service& service,
                                                 const std::string& node) {
  if (services_.size() >= kMostServices) services_.clear();
  auto& known = services_[{service.meta.full_name(), node}];
  if (known != nullptr) return *known;
  Chosen chosen;
  chosen.writer.put(service);
  if (const auto found = store_.nodes.find(node); found != store_.nodes.end()) {
    chosen.writer.put(found->second);
  }
  const auto slices = store_.slices_by_service.find(service.meta.full_name());
  if (slices != store_.slices_by_service.end()) {
    for (const std::string& name : slices->second) {
      chosen.writer.put(store_.endpoint_slices.at(name));
    }
  }
  Config config;
  config.node_name = node;
  const LinuxState linux_state;
  const std::vector<Attachment> attachments;
  const Changes changes = chosen.writer.take_changes();
  const build::ThisNode self = build::describe_this_node(config, chosen.store, linux_state);
  build::ServicesBuilder builder(config);
  known =
      builder
          .build(
              {chosen.store, changes, attachments, true, linux_state, true, nullptr, nullptr, {}},
              self, true)
          .table;
  return *known;
}

}  // namespace podwire::control::explain
