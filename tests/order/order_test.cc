// Named cluster states, as manifests in states/: applied at once, object by object forwards,
// backwards and shuffled, over each other's remains, they end in the same snapshot.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>

#include "tests/order/dump.h"
#include "tests/order/states.h"
#include "tests/unit/control/build/cluster.h"

namespace podwire::tests {
namespace {

using control::build::Cluster;
using control::manifests::FileObject;
namespace kube = control::kube;

struct State {
  std::string name;
  std::vector<FileObject> objects;
};

std::vector<State> read_states() {
  std::vector<State> states;
  for (const auto& file : std::filesystem::directory_iterator(kStatesFolder)) {
    std::ostringstream text;
    text << std::ifstream(file.path()).rdbuf();
    auto content = control::manifests::read_manifest(file.path().filename(), text.str());
    for (const auto& problem : content.problems) ADD_FAILURE() << problem.text;
    states.push_back({file.path().stem(), std::move(content.objects)});
  }
  std::sort(states.begin(), states.end(), [](auto& a, auto& b) { return a.name < b.name; });
  return states;
}

// A pod of this node is attached together with its object, and detached with it.
bool is_attached(const kube::Object& object) {
  const auto* pod = std::get_if<kube::Pod>(&object);
  return pod != nullptr && pod->node_name == "n1" && !pod->host_network && !pod->ips.empty();
}

void put(Cluster& cluster, const FileObject& object) {
  cluster.writer.put(object.object);
  const auto* pod = std::get_if<kube::Pod>(&object.object);
  if (pod == nullptr) return;
  cluster.detach(object.key.second);
  if (!is_attached(object.object)) return;
  cluster.attach(object.key.second, {}).ips = pod->ips;
}

void remove(Cluster& cluster, const FileObject& object) {
  cluster.writer.remove(object.key.first, object.key.second);
  if (is_attached(object.object)) cluster.detach(object.key.second);
}

Probes probes_of(const std::vector<State>& states) {
  std::set<net::Address> addresses;
  for (const State& state : states) {
    for (const FileObject& o : state.objects) {
      if (const auto* pod = std::get_if<kube::Pod>(&o.object)) {
        addresses.insert(pod->ips.begin(), pod->ips.end());
      }
      if (const auto* of_all = std::get_if<kube::ClusterNetworkPolicy>(&o.object)) {
        for (const auto& rule : of_all->egress) {
          for (const auto& peer : rule.peers) {
            for (const auto& network : peer.networks) addresses.insert(network.address);
          }
        }
      }
      const auto* policy = std::get_if<kube::NetworkPolicy>(&o.object);
      if (policy == nullptr) continue;
      for (const auto* rules : {&policy->ingress, &policy->egress}) {
        for (const auto& rule : *rules) {
          for (const auto& peer : rule.peers) {
            if (!peer.ip_block) continue;
            addresses.insert(peer.ip_block->cidr.address);
            for (const auto& except : peer.ip_block->except) addresses.insert(except.address);
          }
        }
      }
    }
  }
  addresses.insert(control::build::ip("8.8.8.8"));
  addresses.insert(control::build::ip("192.168.0.1"));
  return {{addresses.begin(), addresses.end()},
          {{6, 80}, {6, 8080}, {6, 9090}, {17, 53}, {132, 7}, {1, 0}}};
}

class Order : public testing::Test {
 protected:
  const std::vector<State> states = read_states();
  const Probes probes = probes_of(states);

  std::string at_once(const State& state) {
    Cluster cluster;
    for (const FileObject& o : state.objects) put(cluster, o);
    return dump(cluster.build(), probes);
  }
  std::string one_by_one(const std::vector<FileObject>& objects) {
    Cluster cluster;
    for (const FileObject& o : objects) {
      put(cluster, o);
      cluster.build();
    }
    return dump(cluster.build(), probes);
  }
};

TEST_F(Order, StatesDiffer) {
  std::set<std::string> dumps;
  for (const State& state : states) dumps.insert(at_once(state));
  ASSERT_GE(states.size(), 5U);
  EXPECT_EQ(dumps.size(), states.size());
}

TEST_F(Order, ForwardsBackwardsAndShuffledEndTheSame) {
  std::mt19937 random(5);
  for (const State& state : states) {
    SCOPED_TRACE(state.name);
    const std::string expected = at_once(state);
    auto objects = state.objects;
    EXPECT_EQ(one_by_one(objects), expected) << "forwards";
    std::reverse(objects.begin(), objects.end());
    EXPECT_EQ(one_by_one(objects), expected) << "backwards";
    for (int n = 0; n < 5; ++n) {
      std::shuffle(objects.begin(), objects.end(), random);
      ASSERT_EQ(one_by_one(objects), expected) << "shuffled " << n;
    }
  }
}

TEST_F(Order, OneStateLeavesNothingBehindInTheNext) {
  std::mt19937 random(6);
  Cluster cluster;
  std::vector<FileObject> present;
  for (int n = 0; n < 24; ++n) {
    const State& next = states[random() % states.size()];
    SCOPED_TRACE("step " + std::to_string(n) + ": " + next.name);
    std::set<control::manifests::ObjectKey> keys;
    for (const FileObject& o : next.objects) keys.insert(o.key);
    std::vector<std::pair<bool, FileObject>> steps;
    for (const FileObject& o : present) {
      if (!keys.contains(o.key)) steps.emplace_back(false, o);
    }
    for (const FileObject& o : next.objects) steps.emplace_back(true, o);
    std::shuffle(steps.begin(), steps.end(), random);
    for (const auto& [comes, object] : steps) {
      if (comes) {
        put(cluster, object);
      } else {
        remove(cluster, object);
      }
      if (random() % 2 == 0) cluster.build();
    }
    present = next.objects;
    ASSERT_EQ(dump(cluster.build(), probes), at_once(next));
  }
}

}  // namespace
}  // namespace podwire::tests
