// The same policies as rules of DPDK's rte_acl: what a dataplane that matches addresses would ask.
// One classification answers for both directions, a category each.
#pragma once

#include <rte_acl.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bench/lib/memory.h"
#include "bench/verdict/cluster.h"
#include "dataplane/tables/policies.h"

namespace podwire::bench {

class Acl {
 public:
  // `local` pods are isolated in both directions but for what is allowed.
  Acl(std::span<const Allowed> rules, unsigned local);
  ~Acl();
  Acl(const Acl&) = delete;
  Acl& operator=(const Acl&) = delete;

  // Why rte_acl could not be built, or nothing.
  [[nodiscard]] const std::string& trouble() const { return trouble_; }

  struct Packet {  // in network order, as rte_acl reads it
    std::uint32_t protocol, source, destination;
    std::uint16_t source_port, destination_port;
  };
  static Packet packet_of(const tables::PolicyQuestion& question);
  static constexpr unsigned kCategories = RTE_ACL_RESULTS_MULTIPLIER;
  // kCategories results for each packet.
  void classify(const std::uint8_t** packets, std::uint32_t* results, unsigned count) const;
  static bool allows(const std::uint32_t* results) {
    return results[0] != kDeny && results[1] != kDeny;
  }

 private:
  static constexpr std::uint32_t kAllow = 1, kDeny = 2;
  Heap heap_;
  rte_acl_ctx* context_ = nullptr;
  std::string trouble_;
};

}  // namespace podwire::bench
