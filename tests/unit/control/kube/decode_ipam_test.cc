#include <gtest/gtest.h>

#include "control/kube/decode.h"

namespace podwire::control::kube {
namespace {

using nlohmann::json;

json calico_object(const char* kind, const char* spec) {
  return {{"apiVersion", "crd.projectcalico.org/v1"},
          {"kind", kind},
          {"metadata", {{"name", "x"}}},
          {"spec", json::parse(spec)}};
}
template <typename T>
T decoded_calico(const char* kind, const char* spec) {
  auto result = decode(calico_object(kind, spec));
  EXPECT_TRUE(result) << result.error().message;
  return result ? std::get<T>(*result) : T{};
}

TEST(DecodeIpPool, ReadsWhoMayTakeFromIt) {
  const auto pool = decoded_calico<IpPool>("IPPool", R"x({"cidr": "10.0.0.0/16", "blockSize": 28,
      "nodeSelector": "zone == 'a'", "namespaceSelector": "has(team)", "assignmentMode": "Manual",
      "allowedUses": ["Tunnel", "LoadBalancer"], "disableBGPExport": true})x");
  EXPECT_EQ(pool.block_size, 28);
  EXPECT_TRUE(pool.nodes.matches({{"zone", "a"}}));
  EXPECT_FALSE(pool.nodes.matches({{"zone", "b"}}));
  EXPECT_FALSE(pool.namespaces.matches({}));
  EXPECT_TRUE(pool.manual);
  EXPECT_FALSE(pool.for_pods);
  EXPECT_TRUE(pool.for_tunnels);
  EXPECT_TRUE(pool.disable_bgp_export);
  const auto bare = decoded_calico<IpPool>("IPPool", R"({"cidr": "10.0.0.0/16"})");
  EXPECT_TRUE(bare.nodes.matches({}) && bare.namespaces.matches({}) && bare.for_pods);
  EXPECT_TRUE(bare.for_tunnels);
  EXPECT_FALSE(bare.disable_bgp_export || bare.manual);
  const auto for_pods =
      decoded_calico<IpPool>("IPPool", R"({"cidr": "10.0.0.0/16", "allowedUses": ["Workload"]})");
  EXPECT_TRUE(for_pods.for_pods && !for_pods.for_tunnels);
}

TEST(DecodeBlockAffinity, ReadsStatesAndTypes) {
  const auto one =
      decoded_calico<BlockAffinity>("BlockAffinity", R"({"cidr": "10.0.0.0/26", "node": "n",
      "state": "confirmed", "deleted": "false", "type": "host"})");
  EXPECT_EQ(one.state, BlockAffinity::State::confirmed);
  EXPECT_EQ(one.node, "n");
  EXPECT_FALSE(one.deleted);
  EXPECT_TRUE(decoded_calico<BlockAffinity>("BlockAffinity",
                                            R"({"cidr": "10.0.0.0/26", "deleted": "true"})")
                  .deleted);
  EXPECT_EQ(decoded_calico<BlockAffinity>("BlockAffinity", R"({"cidr": "10.0.0.0/26",
      "node": "load-balancer", "type": "virtual"})")
                .node,
            "");
}

TEST(DecodeIpamBlock, ReadsWhoseAddressesAre) {
  const auto block = decoded_calico<IpamBlock>("IPAMBlock", R"({"cidr": "10.0.0.4/30",
      "affinity": "host:n", "allocations": [null, 1, 0, 1], "unallocated": [0],
      "attributes": [{"handle_id": "tunnel", "secondary": {"node": "n", "type": "ipip"}},
        {"handle_id": "net.c\r\neth0", "secondary": {"node": "m", "namespace": "s", "pod": "p"}}]})");
  EXPECT_EQ(block.node, "n");
  EXPECT_EQ(block.free, 1U);
  ASSERT_EQ(block.allocations.size(), 3U);
  EXPECT_EQ(block.allocations[0].address.to_string(), "10.0.0.5");
  EXPECT_EQ(block.allocations[0].handle, "net.c");
  EXPECT_EQ(block.allocations[0].pod, "s/p");
  EXPECT_EQ(block.allocations[0].node, "m");
  EXPECT_EQ(block.allocations[1].type, "ipip");
  EXPECT_EQ(block.allocations[2].address.to_string(), "10.0.0.7");
}

TEST(DecodeIpam, ReadsConfigAndReservations) {
  const auto config = decoded_calico<IpamConfig>("IPAMConfig", R"({"strictAffinity": true,
      "autoAllocateBlocks": false, "maxBlocksPerHost": 3})");
  EXPECT_TRUE(config.strict_affinity && !config.allocate_blocks);
  EXPECT_EQ(config.blocks_per_host, 3U);
  const auto reserved = decoded_calico<IpReservation>(
      "IPReservation", R"({"reservedCIDRs": ["10.0.0.0/30", "fd00::/120"]})");
  EXPECT_EQ(reserved.cidrs.size(), 2U);
}

TEST(DecodeIpam, RefusesWithTheField) {
  const struct {
    const char* kind;
    const char* spec;
    const char* sentence;
  } rows[] = {
      {"IPPool", R"({"cidr": "10.0.0.0/16", "nodeSelector": "zone = 'a'"})",
       "IPPool x: spec.nodeSelector: \"zone = 'a'\" is no selector: at character 6 a comparison "
       "(==, !=, in, not in, contains, starts with) is expected"},
      {"IPPool", R"({"cidr": "10.0.0.0/16", "assignmentMode": "Never"})",
       "IPPool x: spec.assignmentMode: \"Never\" is not Automatic or Manual"},
      {"IPPool", R"({"cidr": "10.0.0.0/16", "allowedUses": ["Pods"]})",
       "IPPool x: spec.allowedUses[0]: \"Pods\" is not Workload, Tunnel or LoadBalancer"},
      {"BlockAffinity", R"({"node": "n"})", "BlockAffinity x: spec.cidr: is not given"},
      {"BlockAffinity", R"({"cidr": "10.0.0.0/26", "state": "done"})",
       "BlockAffinity x: spec.state: \"done\" is not pending, confirmed or pendingDeletion"},
      {"IPAMBlock", R"({"cidr": "10.0.0.0/30", "allocations": []})",
       "IPAMBlock x: spec.allocations: has 0 entries, which is not the size of 10.0.0.0/30"},
      {"IPAMBlock", R"({"cidr": "10.0.0.0/32", "allocations": [0]})",
       "IPAMBlock x: spec.allocations[0]: 0 has no attribute"},
      {"IPAMConfig", R"({"maxBlocksPerHost": -1})",
       "IPAMConfig x: spec.maxBlocksPerHost: -1 is not between 0 and 1000000"},
      {"IPReservation", R"({"reservedCIDRs": ["10.0.0.0"]})",
       "IPReservation x: spec.reservedCIDRs[0]: \"10.0.0.0\" is not a CIDR such as 10.0.0.0/8"},
  };
  for (const auto& row : rows) {
    const auto result = decode(calico_object(row.kind, row.spec));
    ASSERT_FALSE(result) << row.spec;
    EXPECT_EQ(result.error().message, row.sentence);
  }
}

}  // namespace
}  // namespace podwire::control::kube
