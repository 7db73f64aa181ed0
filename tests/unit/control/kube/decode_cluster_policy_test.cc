// ClusterNetworkPolicy, and what becomes of policies of either kind that are wrong somewhere.
#include <gtest/gtest.h>

#include "control/kube/decode.h"

namespace podwire::control::kube {
namespace {

using nlohmann::json;
using Action = ClusterPolicyRule::Action;

json cluster_policy() {
  return json::parse(R"({"apiVersion":"policy.networking.k8s.io/v1alpha2",
    "kind":"ClusterNetworkPolicy","metadata":{"name":"guard"},
    "spec":{"tier":"Baseline","priority":40,
      "subject":{"pods":{"namespaceSelector":{"matchLabels":{"team":"a"}},
                         "podSelector":{"matchLabels":{"app":"web"}}}},
      "ingress":[{"name":"dns","action":"Accept","from":[{"namespaces":{}}],
                  "protocols":[{"udp":{"destinationPort":{"number":53}}},{"tcp":{}},
                    {"sctp":{"destinationPort":{"range":{"start":7,"end":9}}}},
                    {"destinationNamedPort":"http"}]}],
      "egress":[{"action":"Pass","to":[{"networks":["10.0.0.0/8","fd00::/8"]}]},
                {"action":"Deny","to":[{"pods":{"podSelector":{"matchLabels":{"app":"db"}}}}]}]}})");
}
json policy() {
  return json::parse(R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy",
    "metadata":{"name":"web","namespace":"shop"},
    "spec":{"podSelector":{"matchLabels":{"app":"web"},
                           "matchExpressions":[{"key":"tier","operator":"Exists"}]},
      "policyTypes":["Ingress"],
      "ingress":[{"from":[{"podSelector":{}},{"ipBlock":{"cidr":"10.0.0.0/8"}}]},
                 {"ports":[{"port":80}]}]}})");
}
json with(json object, const char* pointer, const char* value) {
  object[json::json_pointer(pointer)] = json::parse(value);
  return object;
}
template <typename T>
T stand_in(const json& object) {
  const auto result = decode_object(object);
  EXPECT_FALSE(result);
  if (result || result.error().stand_in == nullptr) {
    ADD_FAILURE() << "nothing stands in";
    return {};
  }
  return std::get<T>(*result.error().stand_in);
}
ClusterNetworkPolicy decoded(const json& object) {
  const auto result = decode(object);
  EXPECT_TRUE(result) << result.error().message;
  return result ? std::get<ClusterNetworkPolicy>(*result) : ClusterNetworkPolicy{};
}
net::Prefix prefix(const char* text) {
  return *net::Prefix::parse(text);
}

TEST(DecodeClusterNetworkPolicy, ReadsEveryField) {
  const ClusterNetworkPolicy p = decoded(cluster_policy());
  EXPECT_EQ(p.meta.full_name(), "guard");
  EXPECT_EQ(p.tier, ClusterNetworkPolicy::Tier::baseline);
  EXPECT_EQ(p.priority, 40);
  EXPECT_EQ(p.subject.namespaces.match_labels, (Labels{{"team", "a"}}));
  EXPECT_EQ(p.subject.pods.match_labels, (Labels{{"app", "web"}}));
  ASSERT_EQ(p.ingress.size(), 1U);
  EXPECT_EQ(p.ingress[0].name, "dns");
  EXPECT_EQ(p.ingress[0].action, Action::accept);
  EXPECT_EQ(p.ingress[0].peers, (std::vector<ClusterPolicyPeer>{{}}));
  EXPECT_EQ(p.ingress[0].ports,
            (std::vector<ClusterPolicyPort>{
                {17, 53, 53, ""}, {6, 0, 0xffff, ""}, {132, 7, 9, ""}, {6, 0, 0xffff, "http"}}));
  ASSERT_EQ(p.egress.size(), 2U);
  EXPECT_EQ(p.egress[0].action, Action::pass);
  EXPECT_EQ(p.egress[0].peers[0].networks, (std::vector{prefix("10.0.0.0/8"), prefix("fd00::/8")}));
  EXPECT_EQ(p.egress[1].action, Action::deny);
  EXPECT_EQ(p.egress[1].peers[0].pods.match_labels, (Labels{{"app", "db"}}));
  EXPECT_TRUE(p.doubts.empty());
}

struct PolicyRefusal {
  const char* pointer;
  const char* value;
  const char* message;  // after "ClusterNetworkPolicy guard: "
};
const PolicyRefusal kPolicyRefusals[] = {
    {"/spec/tier", R"("Middle")", R"(spec.tier: "Middle" is not Admin or Baseline)"},
    {"/spec/tier", "null", "spec.tier: is not given"},
    {"/spec/priority", "1001", "spec.priority: 1001 is not between 0 and 1000"},
    {"/spec/priority", "null", "spec.priority: is not given"},
    {"/spec/subject", "{}", "spec.subject: gives neither namespaces nor pods"},
    {"/spec/subject/namespaces", "{}",
     "spec.subject.pods: is given beside namespaces; it is one or the other"},
    {"/spec/subject/pods/podSelector", "null", "spec.subject.pods.podSelector: is not given"},
    {"/spec/subject/pods/podSelector/matchLabels/app", "7",
     "spec.subject.pods.podSelector.matchLabels.app: 7 is not a string; put it in quotes"},
    {"/spec/ingress", "7", "spec.ingress: 7 is not a list"},
    {"/spec/ingress/0/action", R"("Allow")",
     R"(spec.ingress[0].action: "Allow" is not Accept, Deny or Pass)"},
    {"/spec/ingress/0/action", "null", "spec.ingress[0].action: is not given"},
    {"/spec/ingress/0/from", "[]",
     "spec.ingress[0].from: none is given, but at least one is needed"},
    {"/spec/ingress/0/from/0/pods", "{}",
     "spec.ingress[0].from[0].pods: is given beside namespaces; it is one or the other"},
    {"/spec/ingress/0/protocols", "[]",
     "spec.ingress[0].protocols: none is given, but at least one is needed"},
    {"/spec/ingress/0/protocols/0", R"({"icmp":{}})",
     "spec.ingress[0].protocols[0]: gives none of tcp, udp, sctp and destinationNamedPort"},
    {"/spec/ingress/0/protocols/1/tcp/flags", "1",
     "spec.ingress[0].protocols[1].tcp.flags: is a match that podwire does not know"},
    {"/spec/ingress/0/protocols/0/udp/destinationPort/number", "0",
     "spec.ingress[0].protocols[0].udp.destinationPort.number: 0 is not between 1 and 65535"},
    {"/spec/ingress/0/protocols/2/sctp/destinationPort/range/end", "7",
     "spec.ingress[0].protocols[2].sctp.destinationPort.range.end: 7 is not more than start, 7"},
    {"/spec/egress/0/to/0/networks/0", R"("10.0.0.0/33")",
     R"(spec.egress[0].to[0].networks[0]: "10.0.0.0/33" is not a CIDR such as 10.0.0.0/8)"},
    {"/spec/egress/0/protocols", R"([{"destinationNamedPort":"http"}])",
     "spec.egress[0].protocols[0]: names a port, but networks have no named ports"},
};

TEST(DecodeClusterNetworkPolicy, RefusesWhatTheApiServerWould) {
  for (const PolicyRefusal& refusal : kPolicyRefusals) {
    const auto result = decode(with(cluster_policy(), refusal.pointer, refusal.value));
    ASSERT_FALSE(result) << "accepted: " << refusal.message;
    EXPECT_EQ(result.error().message,
              std::string("ClusterNetworkPolicy guard: ") + refusal.message);
  }
  json many = cluster_policy();
  for (int n = 0; n < 25; ++n) many["spec"]["ingress"].push_back(many["spec"]["ingress"][0]);
  EXPECT_EQ(decode(many).error().message,
            "ClusterNetworkPolicy guard: spec.ingress: 26 are given, but 25 are the most");
}

// "If an implementation sees no fields are set then ... it should fail closed": which is no error.
TEST(DecodeClusterNetworkPolicy, APeerThatIsNotKnownIsValidAndNotUnderstood) {
  for (const char* peer : {R"({"nodes":{}})", R"({"domainNames":["kubernetes.io"]})", "{}"}) {
    const auto p = decoded(with(cluster_policy(), "/spec/egress/0/to/0", peer));
    EXPECT_FALSE(p.egress[0].understood) << peer;
    EXPECT_TRUE(p.egress[1].understood && p.ingress[0].understood);
    ASSERT_EQ(p.doubts.size(), 1U);
    EXPECT_TRUE(p.doubts[0].starts_with("spec.egress[0].to[0]")) << p.doubts[0];
  }
  // Networks are peers of egress only.
  EXPECT_FALSE(
      decoded(with(cluster_policy(), "/spec/ingress/0/from/0", R"({"networks":["10.0.0.0/8"]})"))
          .ingress[0]
          .understood);
}

TEST(StandIn, ARuleThatIsWrongIsNotUnderstoodAndTheOthersAre) {
  const auto p = stand_in<NetworkPolicy>(
      with(policy(), "/spec/ingress/0/from/1/ipBlock/except", R"(["11.0.0.0/8"])"));
  EXPECT_TRUE(p.isolates_ingress && !p.isolates_egress);
  ASSERT_EQ(p.ingress.size(), 2U);
  EXPECT_FALSE(p.ingress[0].understood);
  EXPECT_TRUE(p.ingress[1].understood);
  EXPECT_EQ(p.doubts, std::vector<std::string>{"spec.ingress[0].from[1].ipBlock.except[0]: "
                                               "\"11.0.0.0/8\" is not a part of \"10.0.0.0/8\""});
}

TEST(StandIn, ASubjectThatIsWrongSelectsMore) {
  const auto p = stand_in<NetworkPolicy>(
      with(policy(), "/spec/podSelector/matchExpressions/0/operator", R"("Gt")"));
  EXPECT_EQ(p.pod_selector.match_labels, (Labels{{"app", "web"}}));
  EXPECT_TRUE(p.pod_selector.match_expressions.empty());
  EXPECT_TRUE(stand_in<NetworkPolicy>(with(policy(), "/spec/podSelector", "7"))
                  .pod_selector.match_labels.empty());
}

TEST(StandIn, TypesThatAreNotUnderstoodIsolateBothWays) {
  const auto p = stand_in<NetworkPolicy>(with(policy(), "/spec/policyTypes/0", R"("Both")"));
  EXPECT_TRUE(p.isolates_ingress && p.isolates_egress);
  const auto q = stand_in<NetworkPolicy>(
      with(with(policy(), "/spec/egress", R"({"to":[]})"), "/spec/policyTypes", "null"));
  EXPECT_TRUE(q.isolates_egress);
}

TEST(StandIn, AClusterPolicyThatStandsNobodyKnowsWhereOnlyDenies) {
  const auto p =
      stand_in<ClusterNetworkPolicy>(with(cluster_policy(), "/spec/priority", "\"first\""));
  EXPECT_EQ(p.tier, ClusterNetworkPolicy::Tier::admin);
  EXPECT_FALSE(p.ingress[0].understood);  // Accept: matches nothing
  EXPECT_FALSE(p.egress[0].understood);   // Pass: denies
  EXPECT_TRUE(p.egress[1].understood);    // Deny: as it says
  const auto q = stand_in<ClusterNetworkPolicy>(with(cluster_policy(), "/spec/ingress", "7"));
  ASSERT_EQ(q.ingress.size(), 1U);
  EXPECT_FALSE(q.ingress[0].understood);
  EXPECT_EQ(q.ingress[0].action, Action::deny);
}

TEST(StandIn, IsForPoliciesWithANameAlone) {
  EXPECT_NE(decode_object(with(policy(), "/metadata/labels", "7")).error().stand_in, nullptr);
  json nameless = policy();
  nameless["metadata"].erase("name");
  EXPECT_EQ(decode_object(nameless).error().stand_in, nullptr);
  const json pod = json::parse(
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"hostNetwork":7}})");
  EXPECT_EQ(decode_object(pod).error().stand_in, nullptr);
}

}  // namespace
}  // namespace podwire::control::kube
