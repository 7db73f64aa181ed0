// Calico's objects of one node's addresses as JSON, kept whole: what podwire does not know is
// written back as it was read. Source: projectcalico/calico libcalico-go/lib/ipam/ipam_block.go,
// lib/backend/model/block_affinity.go, lib/names. Control thread only; nothing here waits.
//
//   allocations  [null, 0, null, ...]      by offset in the block: the number of an attribute
//   unallocated  [2, 3, ..., 0]            free offsets: the first has been free longest
//   attributes   [{handle_id, secondary}]  whose an address is
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "control/object_client.h"
#include "dataplane/net/address.h"
#include "dataplane/result.h"

namespace podwire::control {

inline constexpr ObjectType kIpamBlock{"crd.projectcalico.org/v1", "ipamblocks", "IPAMBlock"};
inline constexpr ObjectType kBlockAffinity{"crd.projectcalico.org/v1", "blockaffinities",
                                           "BlockAffinity"};
inline constexpr ObjectType kIpamHandle{"crd.projectcalico.org/v1", "ipamhandles", "IPAMHandle"};

// "10.244.1.0/26" -> "10-244-1-0-26".
std::string block_name(const net::Prefix& cidr);
std::string affinity_name(const std::string& node, const net::Prefix& cidr);
// Of the label projectcalico.org/hostname-hash: SHA3-256 in base 32.
std::string hostname_hash(const std::string& node);

// State "pending".
nlohmann::json new_affinity(const std::string& node, const net::Prefix& cidr);
nlohmann::json new_handle(const std::string& handle);

class Block {
 public:
  using Reserved = std::function<bool(const net::Address&)>;
  using Attributes = std::map<std::string, std::string>;  // pod, namespace, node, timestamp

  // The error begins with the object and its field: "IPAMBlock 10-0-0-0-26: spec.cidr: ...".
  static Result<Block> read(nlohmann::json object);
  // All of it free. `now` is the time in RFC 3339.
  static Block fresh(const net::Prefix& cidr, const std::string& node, std::uint64_t sequence,
                     const std::string& now);

  [[nodiscard]] const net::Prefix& cidr() const { return cidr_; }
  [[nodiscard]] std::string node() const;  // it has affinity to; empty: none
  [[nodiscard]] bool empty() const;        // no address is taken
  // Whose an address is; null: it is free. Empty: it is taken, but has no handle.
  [[nodiscard]] std::optional<std::string> handle_of(const net::Address& address) const;

  // Of the free addresses the one that has been free longest. Nothing: none is left.
  std::optional<net::Address> assign(const std::string& handle, const Attributes& attributes,
                                     const Reserved& reserved);
  // This one; false when it is taken.
  bool assign(const net::Address& address, const std::string& handle, const Attributes& attributes);
  // Everything that the handle has; how many addresses that were.
  unsigned release(const std::string& handle);
  // To be written: its sequence number has moved.
  const nlohmann::json& changed();
  void forget_affinity() { object_["spec"].erase("affinity"); }
  void mark_deleted() { object_["spec"]["deleted"] = true; }
  [[nodiscard]] const nlohmann::json& object() const { return object_; }

 private:
  Block(nlohmann::json object, const net::Prefix& cidr) : object_(std::move(object)), cidr_(cidr) {}
  nlohmann::json& spec() { return object_["spec"]; }
  [[nodiscard]] const nlohmann::json& spec() const { return object_["spec"]; }
  void take(std::size_t offset, const std::string& handle, const Attributes& attributes);
  std::size_t attribute(const std::string& handle, const Attributes& attributes);
  void drop_unused_attributes();

  nlohmann::json object_;
  net::Prefix cidr_;
};

}  // namespace podwire::control
