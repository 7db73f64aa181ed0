#include "control/explain/ends.h"

#include <utility>

namespace podwire::control::explain {
namespace {

void add_policies(const Store& store, End& end) {
  const std::string& ns = end.pod->meta.ns;
  for (auto place = store.network_policies.lower_bound(ns + "/");
       place != store.network_policies.end() && place->second.meta.ns == ns; ++place) {
    const kube::NetworkPolicy& policy = place->second;
    if (!policy.pod_selector.matches(end.pod->meta.labels)) continue;
    if (policy.isolates_ingress) end.ingress.push_back(&policy);
    if (policy.isolates_egress) end.egress.push_back(&policy);
  }
}

// In 0.0.0.0/8, which no host has (RFC 1122, 3.2.1.3).
net::Address made_up_address(std::uint32_t number) {
  return net::Address::from_v4(net::be32(number & 0xffffff));
}

}  // namespace

End Ends::describe(const kube::Pod& pod) {
  End end;
  end.kind = pod.host_network ? End::Kind::node : End::Kind::pod;
  end.name = pod.meta.full_name();
  end.node = pod.node_name;
  end.pod = &pod;
  end.addresses = pod.ips;
  if (pod.host_network) {
    const auto node = store_.nodes.find(pod.node_name);
    if (end.addresses.empty() && node != store_.nodes.end()) {
      end.addresses = node->second.internal_ips;
    }
    return end;
  }
  if (end.addresses.empty()) {
    end.address_is_made_up = true;
    end.addresses.push_back(made_up_address(
        made_up_.try_emplace(end.name, static_cast<std::uint32_t>(made_up_.size() + 1))
            .first->second));
  }
  add_policies(store_, end);
  return end;
}

Result<End> Ends::describe_node(const std::string& name) const {
  const auto node = store_.nodes.find(name);
  if (node == store_.nodes.end()) return fail("there is no Node " + name);
  End end;
  end.kind = End::Kind::node;
  end.name = end.node = name;
  end.addresses = node->second.internal_ips;
  return end;
}

void Ends::index_addresses() {
  if (std::exchange(indexed_, true)) return;
  for (const auto& [name, pod] : store_.pods) {
    if (pod.finished || pod.host_network) continue;
    for (const net::Address& ip : pod.ips) {
      const kube::Pod*& holder = pods_[ip];
      if (holder == nullptr || (holder->meta.deleting && !pod.meta.deleting)) holder = &pod;
    }
  }
  for (const auto& [name, node] : store_.nodes) {
    for (const net::Address& ip : node.internal_ips) nodes_.try_emplace(ip, &node);
  }
  for (const auto& [name, service] : store_.services) {
    for (const auto* ips :
         {&service.cluster_ips, &service.external_ips, &service.load_balancer_ips}) {
      for (const net::Address& ip : *ips) services_.try_emplace(ip, &service);
    }
  }
}

End Ends::describe(const net::Address& address) {
  index_addresses();
  if (const auto pod = pods_.find(address); pod != pods_.end()) {
    End end = describe(*pod->second);
    end.addresses = {address};
    return end;
  }
  End end;
  end.name = address.to_string();
  end.addresses = {address};
  if (const auto node = nodes_.find(address); node != nodes_.end()) {
    end.kind = End::Kind::node;
    end.node = node->second->meta.name;
  }
  return end;
}

Result<End> Ends::resolve(const std::string& text) {
  if (text == "node") {
    return own_node_.empty() ? fail("write node:NAME; without a podwired there is no own node")
                             : describe_node(own_node_);
  }
  if (text.starts_with("node:")) return describe_node(text.substr(5));
  const bool only_pod = text.starts_with("pod:");
  const bool only_service = text.starts_with("service:");
  const std::string name = only_pod ? text.substr(4) : only_service ? text.substr(8) : text;
  if (name.find('/') == std::string::npos) {
    const auto address = net::Address::parse(name);
    if (address && name == text) return describe(*address);
    return fail("\"" + text + "\" is not namespace/name, node, node:name or an address");
  }
  if (const auto pod = store_.pods.find(name); pod != store_.pods.end() && !only_service) {
    if (pod->second.finished) return fail("Pod " + name + " is finished");
    return describe(pod->second);
  }
  const auto service = store_.services.find(name);
  if (service == store_.services.end() || only_pod) {
    const char* kinds = only_pod ? "Pod " : only_service ? "Service " : "Pod or Service ";
    return fail(std::string("there is no ") + kinds + name);
  }
  End end;
  end.kind = End::Kind::service;
  end.name = name;
  end.service = &service->second;
  return end;
}

Result<const End*> Ends::find(const std::string& text) {
  if (const auto known = found_.find(text); known != found_.end()) return known->second.get();
  auto end = resolve(text);
  if (!end) return tl::unexpected(end.error());
  return found_.emplace(text, std::make_unique<End>(std::move(*end))).first->second.get();
}

const End* Ends::of_address(const net::Address& address) {
  const std::string text = address.to_string();
  if (const auto known = found_.find(text); known != found_.end()) return known->second.get();
  return found_.emplace(text, std::make_unique<End>(describe(address))).first->second.get();
}

const kube::Service* Ends::service_at(const net::Address& address) {
  index_addresses();
  const auto found = services_.find(address);
  return found == services_.end() ? nullptr : found->second;
}

void Ends::forget() {
  found_.clear();
  pods_.clear();
  nodes_.clear();
  services_.clear();
  indexed_ = false;
  made_up_.clear();
}

}  // namespace podwire::control::explain
