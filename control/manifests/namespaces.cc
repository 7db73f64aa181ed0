#include "control/manifests/namespaces.h"

#include <utility>

namespace podwire::control::manifests {
namespace {

constexpr const char* kOrigin = "implied";

// The names are sorted: from one namespace to the next it takes one look-up. '0' follows '/'.
template <typename T>
void add_namespaces(const Store::Kind<T>& all, std::set<std::string>& names) {
  for (auto it = all.begin(); it != all.end();) {
    std::string ns = it->first.substr(0, it->first.find('/'));
    it = all.lower_bound(ns + "0");
    names.insert(std::move(ns));
  }
}

}  // namespace

void ImpliedNamespaces::update(StoreWriter& store) {
  const StoreWriter::Pending& pending = store.pending();
  if (pending.pods.empty() && pending.services.empty() && pending.network_policies.empty() &&
      !pending.namespaces) {
    return;
  }
  std::set<std::string> used;
  add_namespaces(store.store().pods, used);
  add_namespaces(store.store().services, used);
  add_namespaces(store.store().network_policies, used);
  std::set<std::string> implied;
  for (const std::string& name : used) {
    const auto given = store.store().namespaces.find(name);
    if (given != store.store().namespaces.end() && given->second.meta.origin != kOrigin) continue;
    kube::Namespace ns;
    ns.meta.name = name;
    ns.meta.labels = {{"kubernetes.io/metadata.name", name}};
    ns.meta.origin = kOrigin;
    store.put(std::move(ns));
    implied.insert(name);
  }
  for (const std::string& name : implied_) {
    const auto place = store.store().namespaces.find(name);
    if (implied.contains(name) || place == store.store().namespaces.end()) continue;
    if (place->second.meta.origin == kOrigin) store.remove(kube::Kind::name_space, name);
  }
  implied_ = std::move(implied);
}

}  // namespace podwire::control::manifests
