#include "dataplane/tables/policy_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <set>

namespace podwire::tables {
namespace {

using net::Address;
using net::be16;

constexpr PortRange kHttp{6, 80, 80};
constexpr std::array kWeb{kHttp};

Address ip(const char* text) {
  return *Address::parse(text);
}

std::shared_ptr<const PolicyRow> deny_all(std::uint32_t policy) {
  PolicyRowBuilder builder(policy);
  builder.add_tier(PolicyAction::deny);
  return builder.finish();
}

PolicyQuestion ask(const char* from, const char* to, std::uint16_t port = 80,
                   std::uint8_t protocol = 6) {
  return {ip(from), ip(to), be16(port), protocol, false};
}

TEST(PolicyTable, AllowsWhatNobodyIsolates) {
  PolicyTable table;
  table.set_pod(ip("10.0.0.1"), {1, nullptr, nullptr});
  EXPECT_TRUE(table.judge(ask("10.0.0.1", "10.0.0.2")).allowed);
  EXPECT_TRUE(table.judge(ask("8.8.8.8", "10.0.0.1")).allowed);
}

TEST(PolicyTable, NamesTheSideAndThePolicyThatRefused) {
  PolicyTable table;
  table.set_policy_names(std::make_shared<const std::vector<std::string>>(
      std::vector<std::string>{"none", "a/in", "a/out"}));
  table.set_pod(ip("10.0.0.1"), {1, deny_all(1), nullptr});
  table.set_pod(ip("10.0.0.2"), {1, nullptr, deny_all(2)});
  const auto both = table.judge(ask("10.0.0.2", "10.0.0.1"));
  EXPECT_FALSE(both.allowed);
  EXPECT_TRUE(both.egress_denied && both.ingress_denied);
  EXPECT_EQ(table.policy_name(both.policy), "a/out");
  const auto in = table.judge(ask("9.9.9.9", "10.0.0.1"));
  EXPECT_TRUE(!in.allowed && !in.egress_denied && in.ingress_denied);
  EXPECT_EQ(table.policy_name(in.policy), "a/in");
  EXPECT_TRUE(table.judge(ask("10.0.0.1", "10.0.0.9")).allowed);
}

TEST(PolicyTable, LetsTheOwnNodeInButNotThePodOut) {
  PolicyTable table;
  table.set_pod(ip("10.0.0.1"), {1, deny_all(1), deny_all(1)});
  auto probe = ask("192.168.0.1", "10.0.0.1");
  EXPECT_FALSE(table.judge(probe).allowed);
  probe.from_own_node = true;
  EXPECT_TRUE(table.judge(probe).allowed);
  EXPECT_FALSE(table.judge(ask("10.0.0.1", "192.168.0.1")).allowed);
}

TEST(PolicyTable, NeverCutsAPodFromItself) {
  PolicyTable table;
  table.set_pod(ip("fd00::1"), {1, deny_all(1), deny_all(1)});
  EXPECT_TRUE(table.judge(ask("fd00::1", "fd00::1")).allowed);
  EXPECT_FALSE(table.judge(ask("fd00::1", "fd00::2")).allowed);
}

TEST(PolicyTable, TakesTheMostSpecificPrefixOfAnAddressThatIsNoPod) {
  PolicyTable table;
  PolicyRowBuilder builder(1);
  builder.add_tier(PolicyAction::deny);
  const unsigned rule = builder.add_rule(PolicyAction::allow, {}, false);
  builder.set_peer(1, std::array{rule});  // the block; identity 2 is what it excepts
  table.set_pod(ip("10.0.0.1"), {5, builder.finish(), nullptr});
  table.set_prefix(*net::Prefix::parse("172.16.0.0/12"), 1);
  table.set_prefix(*net::Prefix::parse("172.17.0.0/16"), 2);
  EXPECT_TRUE(table.judge(ask("172.16.0.1", "10.0.0.1")).allowed);
  EXPECT_FALSE(table.judge(ask("172.17.0.1", "10.0.0.1")).allowed);
  EXPECT_FALSE(table.judge(ask("9.9.9.9", "10.0.0.1")).allowed);
  table.set_pod(ip("172.17.0.1"), {1, nullptr, nullptr});  // a pod counts as what it is
  EXPECT_TRUE(table.judge(ask("172.17.0.1", "10.0.0.1")).allowed);
}

TEST(PolicyRow, AsksPortsOnlyOfRulesThatNameThem) {
  PolicyRowBuilder builder(1);
  builder.add_tier(PolicyAction::deny);
  builder.add_rule(PolicyAction::allow, kWeb, true);
  const unsigned any_port = builder.add_rule(PolicyAction::allow, {}, false);
  builder.set_peer(7, std::array{any_port});
  const auto row = builder.finish();
  EXPECT_TRUE(row->allows(kWorld, 6, 80));
  EXPECT_FALSE(row->allows(kWorld, 6, 81));
  EXPECT_FALSE(row->allows(kWorld, 6, 79));
  EXPECT_FALSE(row->allows(kWorld, 17, 80));
  EXPECT_FALSE(row->allows(kWorld, 1, 0));  // ICMP follows rules without ports
  EXPECT_TRUE(row->allows(7, 1, 0));
  EXPECT_TRUE(row->allows(7, 132, 9999));
  EXPECT_FALSE(row->allows(100000, 17, 1));  // an identity that came after the row
  EXPECT_TRUE(row->allows(100000, 6, 80));
}

TEST(PolicyRow, FirstMatchingRuleOfTheFirstDecidingTierCounts) {
  PolicyRowBuilder builder(1);
  builder.add_tier(PolicyAction::pass);
  const unsigned pass_on = builder.add_rule(PolicyAction::pass, kWeb, false);
  const unsigned refuse = builder.add_rule(PolicyAction::deny, {}, false);
  const unsigned late = builder.add_rule(PolicyAction::allow, {}, false);
  builder.add_tier(PolicyAction::deny);
  builder.add_rule(PolicyAction::allow, kWeb, true);
  builder.set_peer(1, std::array{pass_on, refuse, late});
  builder.set_peer(2, std::array{late});
  const auto row = builder.finish();
  EXPECT_TRUE(row->allows(1, 6, 80));       // passed on, allowed by the second tier
  EXPECT_FALSE(row->allows(1, 6, 81));      // refused before `late` is reached
  EXPECT_TRUE(row->allows(2, 6, 81));       // the first tier allows
  EXPECT_TRUE(row->allows(kWorld, 6, 80));  // no match, default pass
  EXPECT_FALSE(row->allows(kWorld, 6, 81));
  PolicyRowBuilder copy(*row);
  copy.set_peer(3, std::array{3U});  // the second tier's rule, by its number
  EXPECT_TRUE(copy.finish()->allows(3, 6, 80));
}

TEST(PolicyRow, TellsTheTierAndTheRuleThatDecided) {
  PolicyRowBuilder builder(1);
  builder.add_tier(PolicyAction::pass, PolicyTier::admin);
  const std::array refuses{RuleOrigin{4, 2}};
  const unsigned refuse = builder.add_rule(PolicyAction::deny, kWeb, false, refuses);
  builder.add_tier(PolicyAction::deny);
  const std::array web{RuleOrigin{7, 0}, RuleOrigin{9, 3}};
  builder.add_rule(PolicyAction::allow, kWeb, true, web);
  builder.set_peer(1, std::array{refuse});
  const auto row = builder.finish();
  const auto refused = row->decide(1, 6, 80);
  EXPECT_TRUE(!refused.allowed && refused.by_rule && refused.tier == PolicyTier::admin);
  EXPECT_TRUE(std::ranges::equal(refused.origins, refuses));
  const auto passed = row->decide(2, 6, 80);
  EXPECT_TRUE(passed.allowed && passed.by_rule && passed.tier == PolicyTier::network_policy);
  EXPECT_TRUE(std::ranges::equal(passed.origins, web));
  const auto otherwise = row->decide(1, 6, 81);
  EXPECT_TRUE(!otherwise.allowed && !otherwise.by_rule && otherwise.origins.empty());
  EXPECT_EQ(otherwise.tier, PolicyTier::network_policy);
  PolicyRowBuilder passing(1);
  passing.add_tier(PolicyAction::pass, PolicyTier::admin);
  passing.add_rule(PolicyAction::pass, kWeb, true, refuses);
  const auto open = passing.finish()->decide(1, 6, 80);
  EXPECT_TRUE(open.allowed && !open.by_rule && open.origins.empty());
  PolicyRowBuilder copy(*row);
  copy.set_peer(3, std::array{refuse});
  EXPECT_TRUE(std::ranges::equal(copy.finish()->decide(3, 6, 80).origins, refuses));
}

TEST(PolicyTable, ExplainsBothEnds) {
  using By = PolicyExplanation::By;
  PolicyTable table;
  table.set_pod(ip("10.0.0.1"), {1, deny_all(1), nullptr});
  table.set_pod(ip("10.0.0.2"), {1, nullptr, deny_all(2)});
  const auto both = table.explain(ask("10.0.0.2", "10.0.0.1"));
  EXPECT_TRUE(both.egress.by == By::row && both.egress.policy == 2);
  EXPECT_TRUE(both.ingress.by == By::row && both.ingress.policy == 1);
  EXPECT_FALSE(both.egress.decision.allowed || both.ingress.decision.allowed);
  const auto open = table.explain(ask("10.0.0.1", "10.0.0.2"));
  EXPECT_TRUE(open.egress.by == By::not_isolated && open.ingress.by == By::not_isolated);
  EXPECT_EQ(table.explain(ask("10.0.0.1", "10.0.0.1")).egress.by, By::loopback);
  const auto outside = table.explain(ask("9.9.9.9", "10.0.0.1"));
  EXPECT_TRUE(outside.egress.by == By::no_local_pod && outside.ingress.by == By::row);
  auto probe = ask("192.168.0.1", "10.0.0.1");
  probe.from_own_node = true;
  EXPECT_EQ(table.explain(probe).ingress.by, By::own_node);
}

// Against a plain map, for as long as a version is held.
TEST(PolicyTable, VersionsKeepTheirPods) {
  std::mt19937 random(3);
  const std::array rows{std::shared_ptr<const PolicyRow>{}, deny_all(1), deny_all(2)};
  const auto address = [&] {  // of 6 blocks of 16, so that blocks come and go
    return Address::from_v4(net::be32(0x0a000000U + static_cast<std::uint32_t>(random() % 96)));
  };
  using Plain = std::map<Address, PolicyTable::Pod>;
  std::vector<std::pair<PolicyTable, Plain>> versions(1);
  const auto equal = [&](const PolicyTable& table, const Plain& plain) {
    ASSERT_EQ(table.pods(), plain.size());
    for (std::uint32_t n = 0; n < 96; ++n) {
      const Address ip = Address::from_v4(net::be32(0x0a000000U + n));
      const auto found = plain.find(ip);
      const bool known = found != plain.end();
      ASSERT_EQ(table.pod(ip), known ? std::optional(found->second) : std::nullopt);
      ASSERT_EQ(table.identity_of(ip), known ? found->second.identity : 77U);
      const auto out = table.judge({ip, Address{}, be16(80), 6, false});
      EXPECT_EQ(out.allowed, !known || found->second.egress == nullptr);
      const auto in = table.judge({Address{}, ip, be16(80), 6, false});
      EXPECT_EQ(in.allowed, !known || found->second.ingress == nullptr);
    }
  };
  versions.front().first.set_prefix(*net::Prefix::parse("10.0.0.0/8"), 77);
  for (int change = 0; change < 3000; ++change) {
    if (random() % 20 == 0) versions.push_back(versions.back());
    auto& [table, plain] = versions.back();
    const Address ip = address();
    if (random() % 3 == 0) {
      EXPECT_EQ(table.erase_pod(ip), plain.erase(ip) == 1);
    } else {
      PolicyTable::Pod pod{static_cast<IdentityId>(random() % 5), rows[random() % 3],
                           rows[random() % 3]};
      table.set_pod(ip, pod);
      plain[ip] = pod;
    }
    if (versions.size() > 4) {
      ASSERT_NO_FATAL_FAILURE(equal(versions.front().first, versions.front().second));
      versions.erase(versions.begin());
    }
  }
  for (const auto& [table, plain] : versions) {
    ASSERT_NO_FATAL_FAILURE(equal(table, plain));
  }
}

// Against a plain reading of "first match decides", with more rules than one word holds.
TEST(PolicyRow, EqualsAPlainReadingOverManyRules) {
  std::mt19937 random(11);
  for (int round = 0; round < 20; ++round) {
    struct Rule {
      PolicyAction action;
      std::vector<PortRange> ports;
      bool any_peer;
      std::set<IdentityId> peers;
    };
    std::vector<std::pair<PolicyAction, std::vector<Rule>>> tiers;
    PolicyRowBuilder builder(1);
    std::map<IdentityId, std::vector<unsigned>> by_peer;
    for (unsigned t = 0; t < 1 + random() % 3; ++t) {
      tiers.emplace_back(static_cast<PolicyAction>(random() % 3), std::vector<Rule>{});
      builder.add_tier(tiers.back().first);
      const unsigned most = round % 2 == 0 ? 150 : 8;
      for (unsigned r = 0; r < random() % most; ++r) {
        Rule rule{static_cast<PolicyAction>(random() % 3), {}, random() % 40 == 0, {}};
        for (unsigned n = 0; n < random() % 3; ++n) {
          const auto first = static_cast<std::uint16_t>(random() % 20);
          rule.ports.push_back({static_cast<std::uint8_t>(random() % 2 == 0 ? 6 : 17), first,
                                static_cast<std::uint16_t>(first + random() % 5)});
        }
        const unsigned number = builder.add_rule(rule.action, rule.ports, rule.any_peer);
        for (unsigned n = 0; n < random() % 4; ++n) {
          const IdentityId peer = 1 + random() % 3000;
          if (rule.peers.insert(peer).second) by_peer[peer].push_back(number);
        }
        tiers.back().second.push_back(std::move(rule));
      }
    }
    for (const auto& [peer, rules] : by_peer) builder.set_peer(peer, rules);
    const auto row = builder.finish();
    for (IdentityId peer = 0; peer < 3001; ++peer) {
      const auto protocol = static_cast<std::uint8_t>(random() % 2 == 0 ? 6 : 17);
      const auto port = static_cast<std::uint16_t>(random() % 26);
      bool expected = true;
      bool decided = false;
      for (const auto& [otherwise, rules] : tiers) {
        PolicyAction action = otherwise;
        for (const Rule& rule : rules) {
          bool ports = rule.ports.empty();
          for (const PortRange& range : rule.ports) {
            ports |= range.protocol == protocol && range.first <= port && port <= range.last;
          }
          if (ports && (rule.any_peer || rule.peers.contains(peer))) {
            action = rule.action;
            break;
          }
        }
        if (decided || action == PolicyAction::pass) continue;
        expected = action == PolicyAction::allow;
        decided = true;
      }
      ASSERT_EQ(row->allows(peer, protocol, port), expected) << peer << " " << port;
      ASSERT_EQ(row->decide(peer, protocol, port).allowed, expected) << peer << " " << port;
    }
  }
}

// n ports make 2n + 1 intervals: on both sides of the number that fits into the row's own lines.
TEST(PolicyRow, AnswersWithFewIntervalsOfPortsAndWithMany) {
  for (unsigned ports = 0; ports <= 12; ++ports) {
    PolicyRowBuilder builder(1);
    builder.add_tier(PolicyAction::deny);
    std::vector<unsigned> odd;
    for (unsigned n = 0; n < ports; ++n) {
      const auto port = static_cast<std::uint16_t>(10 + 10 * n);
      const std::array range{PortRange{6, port, port}};
      const unsigned rule = builder.add_rule(PolicyAction::allow, range, n % 2 == 0);
      if (n % 2 == 1) odd.push_back(rule);
    }
    builder.set_peer(7, odd);
    const std::array all{builder.add_rule(PolicyAction::allow, {}, false)};
    builder.set_peer(9, all);
    const auto row = builder.finish();
    PolicyRowBuilder copied(*row);
    copied.set_peer(7, {});
    copied.set_peer(5000, odd);
    const auto copy = copied.finish();
    for (std::uint16_t port = 0; port < 150; ++port) {
      const bool named = port % 10 == 0 && port >= 10 && port < 10 + 10 * ports;
      const bool any = named && port / 10 % 2 == 1;
      EXPECT_EQ(row->allows(7, 6, port), named) << ports << " " << port;
      EXPECT_EQ(row->allows(8, 6, port), any) << ports << " " << port;
      EXPECT_EQ(row->allows(5000, 6, port), any) << ports << " " << port;
      EXPECT_EQ(copy->allows(7, 6, port), any) << ports << " " << port;
      EXPECT_EQ(copy->allows(5000, 6, port), named) << ports << " " << port;
      EXPECT_FALSE(row->allows(7, 17, port));
      EXPECT_TRUE(row->allows(9, 6, port) && row->allows(9, 17, port)) << ports << " " << port;
    }
  }
}

TEST(PolicyRow, AnswersAreNotTheSameWhereAnyPeerMayMore) {
  const auto make = [](bool any_peer) {
    PolicyRowBuilder builder(1);
    builder.add_tier(PolicyAction::deny);
    builder.add_rule(PolicyAction::allow, {}, any_peer);
    return builder.finish();
  };
  EXPECT_TRUE(make(true)->same_answers(*make(true)));
  EXPECT_FALSE(make(true)->same_answers(*make(false)));
  EXPECT_FALSE(make(false)->same_answers(*make(true)));
}

TEST(PolicyRow, CopyLeavesTheOldRowAsItWas) {
  PolicyRowBuilder builder(1);
  builder.add_tier(PolicyAction::deny);
  const unsigned rule = builder.add_rule(PolicyAction::allow, {}, false);
  builder.set_peer(1, std::array{rule});
  builder.set_peer(2000, std::array{rule});
  const auto old = builder.finish();
  PolicyRowBuilder change(*old);
  change.set_peer(1, {});
  change.set_peer(2, std::array{rule});
  const auto next = change.finish();
  EXPECT_TRUE(old->allows(1, 6, 1) && !old->allows(2, 6, 1) && old->allows(2000, 6, 1));
  EXPECT_TRUE(!next->allows(1, 6, 1) && next->allows(2, 6, 1) && next->allows(2000, 6, 1));
}

}  // namespace
}  // namespace podwire::tables
