#include "control/build/blocks.h"

#include <gtest/gtest.h>

#include "tests/unit/control/build/cluster.h"

namespace podwire::control::build {
namespace {

net::Prefix cidr(const char* text) {
  return *net::Prefix::parse(text);
}

class Blocks : public testing::Test {
 protected:
  Blocks() {
    store.nodes["a"].pod_cidrs = {cidr("10.1.0.0/24")};
    add("10.9.0.0/26", "a");
    add("10.9.0.64/26", "b");
  }
  void add(const char* text, const char* node) {
    auto& affinity = store.block_affinities[text];
    affinity.cidr = cidr(text);
    affinity.node = node;
    affinity.state = kube::BlockAffinity::State::confirmed;
    auto& block = store.ipam_blocks[text];
    block.cidr = cidr(text);
    block.node = node;
  }
  std::string own(const std::vector<Attachment>& attachments = {}) const {
    std::string text;
    for (const auto& prefix : own_prefixes("a", store, attachments)) {
      text += (text.empty() ? "" : " ") + prefix.to_string();
    }
    return text;
  }
  Store store;
};

TEST_F(Blocks, AreOfTheNodeWithAConfirmedAffinity) {
  const std::map<net::Prefix, std::string> both{{cidr("10.9.0.0/26"), "a"},
                                                {cidr("10.9.0.64/26"), "b"}};
  EXPECT_EQ(block_routes(store), both);
  EXPECT_EQ(own(), "10.1.0.0/24 10.9.0.0/26");
  auto& affinity = store.block_affinities["10.9.0.0/26"];
  affinity.state = kube::BlockAffinity::State::pending;
  EXPECT_EQ(own(), "10.1.0.0/24");
  affinity.state = kube::BlockAffinity::State::confirmed;
  affinity.deleted = true;
  EXPECT_EQ(own(), "10.1.0.0/24");
  affinity.deleted = false;
  store.ipam_blocks["10.9.0.0/26"].node = "b";  // stale: the block is another's
  EXPECT_EQ(own(), "10.1.0.0/24");
  store.ipam_blocks.erase("10.9.0.0/26");  // manifests need no block
  EXPECT_EQ(own(), "10.1.0.0/24 10.9.0.0/26");
}

TEST_F(Blocks, ABorrowedAddressIsTheBorrowers) {
  auto& theirs = store.ipam_blocks["10.9.0.64/26"];
  theirs.allocations = {{ip("10.9.0.65"), "h1", "b", "", ""}, {ip("10.9.0.66"), "h2", "a", "", ""}};
  const auto routes = block_routes(store);
  EXPECT_EQ(routes.size(), 3U);
  EXPECT_EQ(routes.at(cidr("10.9.0.66/32")), "a");
  Attachment borrower;
  borrower.ips = {ip("10.9.0.66")};
  Attachment usual;
  usual.ips = {ip("10.1.0.7")};
  EXPECT_EQ(own({borrower, usual}), "10.1.0.0/24 10.9.0.0/26 10.9.0.66/32");
}

}  // namespace
}  // namespace podwire::control::build
