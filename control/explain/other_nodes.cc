#include "control/explain/other_nodes.h"

namespace podwire::control::explain {
namespace {

constexpr std::size_t kMostServices = 10'000;

}  // namespace

void OtherNodes::forget() {
  chosen_.store = Store{};
  chosen_.writer.take_changes();
  builder_ = nullptr;
  attachments_.clear();
  namespaces_.clear();
  ends_.clear();
  pods_.clear();
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

void OtherNodes::add(const std::vector<const End*>& pods) {
  std::vector<const End*> fresh;
  for (const End* end : pods) {
    if (!ends_.contains(end)) fresh.push_back(end);
  }
  if (fresh.empty()) return;
  if (pods_.size() + fresh.size() > most_pods_) {
    forget();
    fresh = pods;
  }
  for (const End* end : fresh) {
    ends_.insert(end);
    if (!pods_.insert(end->name).second) continue;
    add_namespace(end->pod->meta.ns);
    kube::Pod pod = *end->pod;
    if (pod.ips.empty()) pod.ips = end->addresses;
    Attachment attachment;
    attachment.pod = end->name;
    attachment.ips = pod.ips;
    chosen_.writer.put(std::move(pod));
    attachments_.push_back(std::move(attachment));
  }
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
