#include "control/ipam/pools.h"

#include <gtest/gtest.h>

namespace podwire::control {
namespace {

using net::Family;

class Pools : public testing::Test {
 protected:
  Pools() {
    add_node("n1", "10.244.1.0/24", {{"zone", "east"}});
    add_node("n2", "10.244.2.0/24", {{"zone", "west"}});
    store.namespaces["default"].meta.name = "default";
    store.namespaces["default"].meta.labels = {{"team", "a"}};
    add_pool("main", "10.244.0.0/16");
    add_pool("six", "fd00::/64");
    pod.meta.ns = "default";
    pod.meta.name = "web";
  }
  void add_node(const std::string& name, const char* range, kube::Labels labels) {
    store.nodes[name].meta.name = name;
    store.nodes[name].meta.labels = std::move(labels);
    store.nodes[name].pod_cidrs = {*net::Prefix::parse(range)};
  }
  kube::IpPool& add_pool(const std::string& name, const char* cidr) {
    kube::IpPool& pool = store.ip_pools[name];
    pool.meta.name = name;
    pool.cidr = *net::Prefix::parse(cidr);
    return pool;
  }
  AddressWishes wishes() {
    const auto read = read_wishes(&pod, store);
    EXPECT_TRUE(read) << read.error().message;
    return read.value_or(AddressWishes{});
  }
  std::string names(Family family = Family::v4) {
    const auto pools = pools_for(store, "n1", "default", family, wishes());
    if (!pools) return pools.error().message;
    std::string text;
    for (const auto* pool : *pools) text += (text.empty() ? "" : " ") + pool->meta.name;
    return text;
  }
  std::string ranges(const std::string& node = "n1") {
    const auto found = ranges_for(store, node, "default", Family::v4, wishes());
    if (!found) return found.error().message;
    std::string text;
    for (const auto& range : *found) text += (text.empty() ? "" : " ") + range.to_string();
    return text;
  }
  void annotate(const char* key, const char* value) {
    pod.meta.annotations[std::string("cni.projectcalico.org/") + key] = value;
  }

  Store store;
  kube::Pod pod;
};

TEST_F(Pools, ThoseThatFit) {
  EXPECT_EQ(names(), "main");
  EXPECT_EQ(names(Family::v6), "six");
  auto& other = add_pool("other", "10.9.0.0/16");
  EXPECT_EQ(names(), "main other");
  other.nodes = *kube::CalicoSelector::parse("zone == 'west'");
  EXPECT_EQ(names(), "main");
  other.nodes = {};
  other.namespaces = *kube::CalicoSelector::parse("team == 'b'");
  EXPECT_EQ(names(), "main");
  other.namespaces = *kube::CalicoSelector::parse("team == 'a'");
  EXPECT_EQ(names(), "main other");
  for (bool kube::IpPool::*off : {&kube::IpPool::disabled, &kube::IpPool::manual}) {
    other.*off = true;
    EXPECT_EQ(names(), "main");
    other.*off = false;
  }
  other.for_pods = false;
  EXPECT_EQ(names(), "main");
}

TEST_F(Pools, ThoseThatAreNamedGoBeforeSelectors) {
  auto& other = add_pool("other", "10.9.0.0/16");
  other.manual = true;
  other.nodes = *kube::CalicoSelector::parse("zone == 'west'");
  annotate("ipv4pools", R"(["other", "10.244.0.0/16"])");
  EXPECT_EQ(names(), "other main");
  EXPECT_EQ(names(Family::v6), "six");
  pod.meta.annotations.clear();
  store.namespaces["default"].meta.annotations["cni.projectcalico.org/ipv4pools"] = R"(["other"])";
  EXPECT_EQ(names(), "other");
  annotate("ipv4pools", R"(["main"])");
  EXPECT_EQ(names(), "main");
  pod.meta.annotations.clear();
  store.namespaces["default"].meta.annotations.clear();
  const auto configured = read_wishes(&pod, store, {"other"}, {});
  ASSERT_TRUE(configured);
  EXPECT_EQ(pools_for(store, "n1", "default", Family::v4, *configured)->front()->meta.name,
            "other");
}

TEST_F(Pools, RefusalsNameObjectAndAnnotation) {
  const std::string place = "Pod default/web: annotation cni.projectcalico.org/";
  add_pool("off", "10.8.0.0/16").disabled = true;
  add_pool("tunnels", "10.7.0.0/16").for_pods = false;
  add_pool("within", "10.244.128.0/17");
  const std::pair<const char*, const char*> rows[] = {
      {R"(["none"])", "IPPool none does not exist"},
      {R"(["off"])", "IPPool off is disabled"},
      {R"(["six"])", "IPPool six is no IPv4 pool"},
      {R"(["tunnels"])", "IPPool tunnels is not for pods: its allowedUses hold no Workload"},
      {R"(["within"])", "IPPool within overlaps IPPool main"},
  };
  for (const auto& [value, sentence] : rows) {
    annotate("ipv4pools", value);
    EXPECT_EQ(names(), place + "ipv4pools: " + sentence);
  }
  annotate("ipv4pools", "main");
  EXPECT_EQ(read_wishes(&pod, store).error().message,
            place + "ipv4pools: main is not a list of texts such as [\"a\", \"b\"]");
  pod.meta.annotations.clear();
  annotate("ipAddrs", R"(["10.0.0.1", "10.0.0.2"])");
  EXPECT_EQ(read_wishes(&pod, store).error().message,
            place + "ipAddrs: 10.0.0.2 is a second address of its family");
  annotate("ipAddrs", R"(["ten"])");
  EXPECT_EQ(read_wishes(&pod, store).error().message, place + "ipAddrs: ten is no IP address");
  pod.meta.annotations.clear();
  annotate("ipAddrsNoIpam", R"(["10.0.0.1"])");
  EXPECT_TRUE(read_wishes(&pod, store).error().message.starts_with(place + "ipAddrsNoIpam: "));
}

TEST_F(Pools, RangesOfThisNodeAlone) {
  EXPECT_EQ(ranges(), "10.244.1.0/24");
  EXPECT_EQ(ranges("n2"), "10.244.2.0/24");
  // One pool selects n1 and no other node.
  auto& own = add_pool("own", "10.9.0.0/24");
  EXPECT_EQ(ranges(), "10.244.1.0/24");
  own.nodes = *kube::CalicoSelector::parse("zone == 'east'");
  EXPECT_EQ(ranges(), "10.244.1.0/24 10.9.0.0/24");
  EXPECT_EQ(ranges("n2"), "10.244.2.0/24");
  annotate("ipv4pools", R"(["own"])");
  EXPECT_EQ(ranges(), "10.9.0.0/24");
  EXPECT_EQ(ranges("n2"),
            "Pod default/web: annotation cni.projectcalico.org/ipv4pools: no part of these pools "
            "is node n2's: neither its podCIDRs, nor a pool that selects it alone, nor a block");
  auto& affinity = store.block_affinities["n2-10-9-0-64-26"];
  affinity.node = "n2";
  affinity.cidr = *net::Prefix::parse("10.9.0.64/26");
  EXPECT_NE(ranges("n2"), "10.9.0.64/26");  // pending
  affinity.state = kube::BlockAffinity::State::confirmed;
  EXPECT_EQ(ranges("n2"), "10.9.0.64/26");
  // The pool around a pod range is not for this pod.
  pod.meta.annotations.clear();
  store.ip_pools["main"].disabled = true;
  EXPECT_EQ(ranges("n2"), "");
  store.ip_pools.erase("main");
  EXPECT_EQ(ranges("n2"), "10.244.2.0/24");
}

TEST_F(Pools, TheFirstByNameKeepsWhatOverlaps) {
  add_pool("within", "10.244.128.0/17");
  add_pool("a-larger", "10.0.0.0/8");
  const std::map<std::string, std::string> expected{{"main", "a-larger"}, {"within", "a-larger"}};
  EXPECT_EQ(overlapping_pools(store), expected);
  EXPECT_EQ(names(), "a-larger");
}

}  // namespace
}  // namespace podwire::control
