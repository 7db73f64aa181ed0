// Names in a question -> the pods, nodes, addresses and Services they stand for. Control thread
// only; what it gives is valid until the store changes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/store.h"
#include "dataplane/result.h"

namespace podwire::control::explain {

struct End {
  enum class Kind : std::uint8_t { pod, node, address, service };
  Kind kind = Kind::address;
  std::string name;  // "default/web", a node's name, or the address
  std::string node;  // where it is; empty: not known
  std::vector<net::Address> addresses;
  const kube::Pod* pod = nullptr;  // also of one on the host's network, whose kind is node
  const kube::Service* service = nullptr;
  // The pod has no address yet and is given one that no ipBlock names but those of length 0.
  bool address_is_made_up = false;
  // Of a pod: the policies that isolate it.
  std::vector<const kube::NetworkPolicy*> ingress, egress;
};

class Ends {
 public:
  // `own_node`: what "node" stands for; empty: there is no own node.
  Ends(const Store& store, std::string own_node) : store_(store), own_node_(std::move(own_node)) {}

  // "ns/name" (of a pod, else of a Service), "pod:ns/name", "service:ns/name", "node", "node:name"
  // or an address.
  Result<const End*> find(const std::string& text);
  const End* of_address(const net::Address& address);
  // Whose addresses, not its pods', the Service has; null: nobody's.
  const kube::Service* service_at(const net::Address& address);
  [[nodiscard]] std::size_t size() const { return found_.size(); }
  // The store is another now.
  void forget();

 private:
  Result<End> resolve(const std::string& text);
  End describe(const kube::Pod& pod);
  Result<End> describe_node(const std::string& name) const;
  End describe(const net::Address& address);
  void index_addresses();

  const Store& store_;
  const std::string own_node_;
  std::unordered_map<std::string, std::unique_ptr<End>> found_;
  bool indexed_ = false;
  std::unordered_map<net::Address, const kube::Pod*, net::AddressHash> pods_;
  std::unordered_map<net::Address, const kube::Node*, net::AddressHash> nodes_;
  std::unordered_map<net::Address, const kube::Service*, net::AddressHash> services_;
  std::unordered_map<std::string, std::uint32_t> made_up_;  // by Pod
};

}  // namespace podwire::control::explain
