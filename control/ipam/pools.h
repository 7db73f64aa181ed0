// Which pools a pod's addresses are taken from. Source: projectcalico/calico
// libcalico-go/lib/ipam/pool_qualification.go. Thread-safe: pure functions.
#pragma once

#include <string>
#include <vector>

#include "control/store.h"
#include "dataplane/result.h"

namespace podwire::control {

// What a pod, its Namespace or the CNI configuration asks for.
struct AddressWishes {
  std::vector<net::Address> addresses;  // cni.projectcalico.org/ipAddrs: exactly these
  // Names or CIDRs of pools: cni.projectcalico.org/ipv4pools and ipv6pools, on the pod, else on its
  // Namespace, else the configuration's ipam.ipv4_pools and ipv6_pools. Empty: those that fit.
  std::vector<std::string> v4, v6;
  std::string v4_place, v6_place;  // who asks: "Pod default/web: annotation ..."
};
// `pod` may be null. The error is one sentence that names the object and its annotation.
Result<AddressWishes> read_wishes(const kube::Pod* pod, const Store& store,
                                  const std::vector<std::string>& configured_v4 = {},
                                  const std::vector<std::string>& configured_v6 = {});

// Of one family, in the order in which they are asked. Pools that are named need not select the
// node or the Namespace. An error: a named one that cannot be used; empty: none fits.
Result<std::vector<const kube::IpPool*>> pools_for(const Store& store, const std::string& node,
                                                   const std::string& name_space,
                                                   net::Family family, const AddressWishes& wishes);

// Those that this node's tunnel address may come from: IPIP, and for tunnels on this node.
std::vector<const kube::IpPool*> tunnel_pools(const Store& store, const std::string& node);

// Where nobody keeps blocks: the ranges that this node alone gives addresses of. Its podCIDRs,
// where no pool says otherwise; a pool that selects this node and no other; blocks that have
// affinity to it. Empty: none of this family; the error is as above.
Result<std::vector<net::Prefix>> ranges_for(const Store& store, const std::string& node,
                                            const std::string& name_space, net::Family family,
                                            const AddressWishes& wishes);

// The pool that an address lies in, of those that are not disabled; null: none.
const kube::IpPool* pool_of(const Store& store, const net::Address& address);

// Pools that overlap one whose name comes first, which keeps the addresses: name by name.
std::map<std::string, std::string> overlapping_pools(const Store& store);

}  // namespace podwire::control
