#include "control/ipam/block.h"

#include <gtest/gtest.h>

#include "tests/unit/control/ipam/literals.h"

namespace podwire::control {
namespace {

using nlohmann::json;

TEST(BlockNames, AreCalicos) {
  EXPECT_EQ(block_name(range("10.244.1.0/26")), "10-244-1-0-26");
  EXPECT_EQ(block_name(range("fd00:10::/122")), "fd00-10---122");
  EXPECT_EQ(affinity_name("node-a", range("10.244.1.0/26")), "node-a-10-244-1-0-26");
  const std::string cut = affinity_name(std::string(250, 'n'), range("10.244.1.0/26"));
  EXPECT_EQ(cut.size(), 252U);
  EXPECT_TRUE(cut.starts_with(std::string(226, 'n') + "-10-244-1-0-26-")) << cut;
  // A value of libcalico-go's own: sha3.Sum256 in base 32.
  EXPECT_EQ(hostname_hash("node-a"), "PY3TQE2E3XMTETLM2MJO3UITKPFB27YUJ4T4E5XGPEJON3SM4QAA");
  EXPECT_EQ(new_handle("k8s-pod-network.ABC")["metadata"]["name"], "k8s-pod-network.abc");
  EXPECT_EQ(new_handle("k8s-pod-network.ABC")["spec"]["handleID"], "k8s-pod-network.ABC");
}

// As Calico 3.27 writes one of four addresses, two of them taken; with fields that podwire does not
// know.
json of_calico() {
  return json::parse(R"({
    "apiVersion": "crd.projectcalico.org/v1", "kind": "IPAMBlock",
    "metadata": {"name": "10-244-1-0-30", "uid": "u", "resourceVersion": "7",
                 "annotations": {"projectcalico.org/metadata": "{}"}},
    "spec": {"affinity": "host:node-a", "cidr": "10.244.1.0/30",
      "allocations": [0, null, 1, null], "unallocated": [3, 1],
      "attributes": [
        {"handle_id": "ipip-tunnel-addr-node-a",
         "secondary": {"node": "node-a", "type": "ipipTunnelAddress"}},
        {"handle_id": "k8s-pod-network.1", "later": {"x": 1},
         "secondary": {"namespace": "default", "node": "node-a", "pod": "web", "timestamp": "t"}}],
      "deleted": false, "sequenceNumber": 1700000000000000001,
      "sequenceNumberForAllocation": {"0": 5, "2": 6}, "strictAffinity": false, "more": [1]}})");
}

TEST(Block, GoesOnWithOneOfCalicos) {
  auto block = Block::read(of_calico());
  ASSERT_TRUE(block) << block.error().message;
  EXPECT_EQ(block->node(), "node-a");
  EXPECT_EQ(block->handle_of(address("10.244.1.2")), "k8s-pod-network.1");
  EXPECT_EQ(block->handle_of(address("10.244.1.1")), std::nullopt);
  const Block::Attributes whose{{"node", "node-a"}, {"pod", "new"}};
  EXPECT_EQ(block->assign("k8s-pod-network.2", whose, nothing), address("10.244.1.3"));
  EXPECT_EQ(block->release("k8s-pod-network.1"), 1U);

  json expected = of_calico();
  json& spec = expected["spec"];
  spec["allocations"] = {0, nullptr, nullptr, 1};
  spec["unallocated"] = {1, 2};
  spec["attributes"][1] = {{"handle_id", "k8s-pod-network.2"}, {"secondary", whose}};
  spec["sequenceNumber"] = 1700000000000000002;
  spec["sequenceNumberForAllocation"] = {{"0", 5}, {"3", 1700000000000000001}};
  EXPECT_EQ(block->changed(), expected);
}

TEST(Block, GivesTheLongestFreeFirst) {
  Block block = Block::fresh(range("10.0.0.0/30"), "n", 1, "now");
  const auto next = [&] { return block.assign("h", {}, nothing); };
  EXPECT_EQ(next(), address("10.0.0.0"));
  EXPECT_EQ(block.assign("other", {}, nothing), address("10.0.0.1"));
  EXPECT_EQ(block.release("h"), 1U);
  EXPECT_EQ(next(), address("10.0.0.2"));
  EXPECT_EQ(next(), address("10.0.0.3"));
  EXPECT_EQ(next(), address("10.0.0.0"));
  EXPECT_EQ(next(), std::nullopt);
  EXPECT_FALSE(block.assign(address("10.0.0.1"), "h", {}));
  EXPECT_EQ(block.release("h"), 3U);
  EXPECT_FALSE(block.empty());
  EXPECT_EQ(block.release("other"), 1U);
  EXPECT_TRUE(block.empty());
  EXPECT_TRUE(block.assign(address("10.0.0.2"), "h", {}));
  EXPECT_EQ(block.object()["spec"]["attributes"].size(), 1U);
}

TEST(Block, PassesOverReservedOnes) {
  Block block = Block::fresh(range("fd00::/126"), "n", 1, "now");
  const auto reserved = [](const net::Address& a) { return a == address("fd00::"); };
  EXPECT_EQ(block.assign("h", {}, reserved), address("fd00::1"));
  EXPECT_EQ(block.assign("h", {}, nothing), address("fd00::"));
}

TEST(Block, RefusesWhatIsWrong) {
  const std::pair<const char*, const char*> rows[] = {
      {R"({"allocations": [0]})",
       "IPAMBlock 10-244-1-0-30: spec.allocations: has 1 entries, which is not the size of "
       "10.244.1.0/30"},
      {R"({"allocations": [0, 2, null, null]})",
       "IPAMBlock 10-244-1-0-30: spec.allocations[1]: 2 is not between 0 and 1"},
      {R"({"unallocated": [4]})",
       "IPAMBlock 10-244-1-0-30: spec.unallocated: 4 is no offset in the block"},
      {R"({"cidr": "10.244.0.0/16"})",
       "IPAMBlock 10-244-1-0-30: spec.cidr: \"10.244.0.0/16\" is larger than a block can be"},
      {R"({"attributes": [{"handle_id": 1}, {}]})",
       "IPAMBlock 10-244-1-0-30: spec.attributes[0].handle_id: 1 is not a string; put it in "
       "quotes"},
  };
  for (const auto& [change, sentence] : rows) {
    json object = of_calico();
    object["spec"].update(json::parse(change));
    const auto block = Block::read(object);
    ASSERT_FALSE(block) << change;
    EXPECT_EQ(block.error().message, sentence);
  }
}

}  // namespace
}  // namespace podwire::control
