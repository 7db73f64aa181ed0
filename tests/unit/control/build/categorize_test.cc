// The decision table of pkg/proxy/topology.go, one line a case.
#include <gtest/gtest.h>

#include "control/build/services.h"

namespace podwire::control::build {
namespace {

// "a" ready, "t" serving and terminating, "x" neither; in capitals: on this node. Behind it hints:
// "@z1" zone, "#n1" node. This node is n1 in zone z1.
struct Case {
  const char* name;
  std::vector<const char*> endpoints;
  bool internal_local, external_local, accessible;
  std::vector<int> cluster, local;
  bool any;
};

kube::Endpoint endpoint(std::string_view text) {
  kube::Endpoint e;
  const char kind = static_cast<char>(text[0] | 0x20);
  e.ready = kind == 'a';
  e.serving = kind != 'x';
  e.terminating = kind == 't';
  if (text.size() > 1) (text[1] == '@' ? e.zone_hints : e.node_hints).emplace_back(text.substr(2));
  return e;
}

const Case kCases[] = {
    {"nothing", {}, false, false, false, {}, {}, false},
    {"cluster takes every ready one", {"a", "A", "x"}, false, false, false, {0, 1}, {}, true},
    {"not ready and not terminating is never used", {"x", "X"}, false, true, true, {}, {}, false},
    {"terminating only when none is ready", {"t", "a"}, false, false, false, {1}, {}, true},
    {"terminating as the last resort", {"t", "T", "x"}, false, false, false, {0, 1}, {}, true},
    {"local without external access has no cluster set",
     {"a", "A"},
     true,
     false,
     false,
     {},
     {1},
     true},
    {"local with external access has both", {"a", "A"}, true, false, true, {0, 1}, {1}, true},
    {"external local", {"a", "A"}, false, true, true, {0, 1}, {1}, true},
    {"external local means nothing without external access",
     {"a", "A"},
     false,
     true,
     false,
     {0, 1},
     {},
     true},
    {"none here, some elsewhere", {"a"}, true, false, false, {}, {}, true},
    {"local falls back to terminating by itself", {"a", "T"}, false, true, true, {0}, {1}, true},
    {"local prefers ready", {"A", "T"}, true, false, false, {}, {0}, true},
    {"zone hints", {"a@z1", "a@z2"}, false, false, false, {0}, {}, true},
    {"one without a hint turns hints off",
     {"a@z1", "a@z2", "a"},
     false,
     false,
     false,
     {0, 1, 2},
     {},
     true},
    {"no hint for this zone", {"a@z2", "a@z3"}, false, false, false, {0, 1}, {}, true},
    {"hints of those not ready do not count",
     {"a@z1", "a@z2", "x"},
     false,
     false,
     false,
     {0},
     {},
     true},
    {"node hints", {"a#n1", "a#n2"}, false, false, false, {0}, {}, true},
    {"terminating ignores hints", {"t@z2", "t@z1"}, false, false, false, {0, 1}, {}, true},
    {"hints never narrow the local set", {"A@z2", "a@z1"}, false, true, true, {1}, {0}, true},
};

TEST(CategorizeEndpoints, FollowsTheTable) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    std::vector<kube::Endpoint> made;
    for (const char* text : c.endpoints) made.push_back(endpoint(text));
    std::vector<ServiceEndpoint> endpoints;
    for (std::size_t n = 0; n < made.size(); ++n) {
      const bool local = c.endpoints[n][0] < 'a';
      endpoints.push_back({&made[n], static_cast<std::uint16_t>(n), local});
    }
    const auto result = categorize_endpoints(
        endpoints, {c.internal_local, c.external_local, c.accessible, "n1", "z1"});
    const auto numbers = [](const std::vector<const ServiceEndpoint*>& set) {
      std::vector<int> n;
      for (const ServiceEndpoint* e : set) n.push_back(e->port);
      return n;
    };
    EXPECT_EQ(numbers(result.cluster), c.cluster);
    EXPECT_EQ(numbers(result.local), c.local);
    EXPECT_EQ(result.has_any, c.any);
  }
}

TEST(CategorizeEndpoints, NodeHintsGoBeforeZoneHints) {
  kube::Endpoint here, there;
  here.zone_hints = there.zone_hints = {"z1"};
  here.node_hints = {"n1"};
  there.node_hints = {"n2"};
  const std::vector<ServiceEndpoint> endpoints{{&here, 1, true}, {&there, 2, false}};
  const auto result = categorize_endpoints(endpoints, {false, false, false, "n1", "z1"});
  ASSERT_EQ(result.cluster.size(), 1U);
  EXPECT_EQ(result.cluster[0]->port, 1);
  // A node that no hint names falls back to zones; a node without a zone takes all.
  EXPECT_EQ(categorize_endpoints(endpoints, {false, false, false, "n3", "z1"}).cluster.size(), 2U);
  EXPECT_EQ(categorize_endpoints(endpoints, {false, false, false, "n3", ""}).cluster.size(), 2U);
}

}  // namespace
}  // namespace podwire::control::build
