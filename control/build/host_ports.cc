// Ports of the node that lead to a pod (CNI's portMappings): each a frontend with one backend. As
// with containernetworking's portmap the client keeps its address, but for a pod that reaches
// itself; the node's own connections go by the table of control/routes/node_ports.h.
#include <algorithm>

#include "control/build/services.h"

namespace podwire::control::build {
namespace {

using tables::FrontendKey;
using tables::FrontendKind;

// After every Service's name: a Service keeps what both ask for.
std::string owner_name(const Attachment& a) {
  return "~" + (a.pod.empty() ? a.container_id : a.pod) + "/" + a.interface;
}

FrontendKey key_of(const HostPort& port, const net::Address& pod) {
  FrontendKey key;
  if (port.address) {
    key.address = *port.address;
  } else if (pod.is_v4()) {
    key.address = net::Address::from_v4(net::be32{});
  }
  key.port = net::be16(port.host_port);
  key.protocol = port.protocol;
  return key;
}

}  // namespace

std::string ServicesBuilder::object_of(const std::string& owner) {
  return owner.starts_with('~') ? "hostPort of Pod " + owner.substr(1) : "Service " + owner;
}

ServicesBuilder::Frontends ServicesBuilder::host_ports_of(const Attachment& attachment) {
  Frontends frontends;
  const std::string owner = owner_name(attachment);
  for (const HostPort& port : attachment.host_ports) {
    for (const net::Address& pod : attachment.ips) {
      if (port.address && port.address->family() != pod.family()) continue;
      const FrontendKey key = key_of(port, pod);
      auto made = std::make_shared<tables::Service>();
      made->family = pod.family();
      made->protocol = port.protocol;
      made->external_local = made->has_any_endpoint = true;
      made->cluster = made->local = {{pod, net::be16(port.pod_port), true}};
      made->name = owner + ":" + std::to_string(port.host_port);
      const std::string number =
          made->name + "/" + std::to_string(port.protocol) + "/" + key.address.to_string();
      tables::Frontend frontend;
      frontend.service = keep(number, std::move(made));
      frontend.kind = port.address ? FrontendKind::external_ip : FrontendKind::node_port;
      frontends.try_emplace(key, std::move(frontend));
    }
  }
  return frontends;
}

bool ServicesBuilder::serve_host_ports(const Inputs& inputs, tables::ServiceTable& table) {
  std::map<std::string, const Attachment*> now;
  for (const Attachment& a : inputs.attachments) {
    if (!a.host_ports.empty()) now.emplace(owner_name(a), &a);
  }
  if (now.empty() && host_port_owners_.empty()) return false;
  for (const std::string& owner : host_port_owners_) {
    if (!now.contains(owner)) forget(owner, table);
  }
  host_port_owners_.clear();
  for (const auto& [owner, attachment] : now) {
    set_frontends(owner, host_ports_of(*attachment), table);
    host_port_owners_.insert(owner);
  }
  return true;
}

}  // namespace podwire::control::build
