#include <gtest/gtest.h>

#include "control/ctl/server.h"
#include "control/ctl/text.h"
#include "tests/unit/control/fake_dataplane.h"

namespace podwire::control::ctl {
namespace {

using nlohmann::json;

class CtlTest : public testing::Test {
 protected:
  CtlTest()
      : sampler(bench.dataplane),
        sources{bench.state, sampler, problems, check_problems},
        explainer(bench.state.store, "n1", 100) {
    auto service = std::make_shared<tables::Service>();
    service->id = 7;
    service->name = "default/web:http";
    service->protocol = 6;
    service->affinity_seconds = 10800;
    service->cluster = {{ip("10.0.0.1"), net::be16(8080), true},
                        {ip("10.0.1.1"), net::be16(8080), false}};
    service->local = {service->cluster[0]};
    bench.services->frontends.set({ip("10.96.0.10"), net::be16(80), 6},
                                  {service, tables::FrontendKind::cluster_ip, false, {}});
    bench.services->frontends.set({ip("0.0.0.0"), net::be16(30080), 6},
                                  {service, tables::FrontendKind::node_port, false, {}});
    bench.routes->next_hops.resize(2);
    bench.routes->next_hops[1].kind = tables::NextHopKind::tunnel;
    bench.routes->next_hops[1].mtu = 1480;
    bench.routes->next_hops[1].tunnel_destination = ip("192.0.2.2").v4();
    bench.routes->prefixes.set(*net::Prefix::parse("10.0.1.0/24"), 1);
    Attachment attachment;
    attachment.container_id = "c1";
    attachment.interface = "eth0";
    attachment.pod = "default/web";
    attachment.ips = {ip("10.0.0.1")};
    attachment.port = std::make_shared<FakePort>();
    bench.state.attachments.push_back(attachment);
    bench.publish();
    observe::FlowRow row;
    row.protocol = 6;
    row.state = "established";
    row.source = ip("10.0.0.2");
    row.source_port = net::be16(1234);
    row.destination = ip("10.96.0.10");
    row.destination_port = net::be16(80);
    row.reply_source = ip("10.0.0.1");
    row.service_id = 7;
    observe::FlowRow other = row;
    other.protocol = 17;
    other.reply_source = ip("fd00::9");
    other.service_id = 0;
    bench.dataplane.rows = {row, other};
    auto& counters = *bench.dataplane.worker_counters[0];
    counters.received.add(10);
    counters.sent.add(7);
    counters.holding.add(1);
    counters.drops[static_cast<std::size_t>(Reason::spoofed_ip)].add(2);
    counters.ports[2].rx_packets.add(5);
  }
  json ask(const json& request) { return json::parse(answer(request.dump(), sources, explainer)); }
  json result(const std::string& command) { return ask({{"command", command}})["result"]; }

  Bench bench;
  Sampler sampler;
  std::vector<std::string> problems;
  std::vector<std::string> check_problems;
  Sources sources;
  explain::Explainer explainer;
};

class ServerSource final : public ObjectSource {
 public:
  [[nodiscard]] std::string name() const override { return "a server"; }
  void start(ObjectSink& /*sink*/) override {}
  void stop() override {}
  [[nodiscard]] std::vector<KindReport> report() const override {
    KindReport report;
    report.kind = kube::Kind::pod;
    report.objects = 3;
    report.resource_version = "77";
    report.phase = "waiting";
    report.watches = 2;
    report.errors = {{"expired", 0}, {"unreachable", 5}, {"cut", 1}};
    return {report};
  }
};

TEST_F(CtlTest, StatusTellsOfEachKindThatAServerHas) {
  EXPECT_EQ(result("status")["kinds"], json::array());
  const ServerSource source;
  bench.state.object_source = &source;
  bench.state.source_trouble = "cannot be reached";
  const json status = result("status");
  EXPECT_EQ(status["sourceTrouble"], "cannot be reached");
  EXPECT_EQ(status["kinds"],
            json::parse(R"([{"kind":"Pod","objects":3,"resourceVersion":"77","phase":"waiting",
      "watchingSeconds":null,"lists":0,"watches":2,"events":0,
      "errors":{"expired":0,"unreachable":5,"cut":1}}])"));
  const std::string text = report_text("status", status, false);
  EXPECT_NE(text.find("trouble    cannot be reached\n"), std::string::npos) << text;
  EXPECT_NE(text.find("cut=1,unreachable=5\n"), std::string::npos) << text;
  bench.state.object_source = nullptr;
}

TEST_F(CtlTest, StatusTellsWhatHoldsAndWhatDoesNot) {
  json status = result("status");
  EXPECT_EQ(status["node"], "n1");
  EXPECT_EQ(status["synced"], true);
  EXPECT_EQ(status["pods"], (json{{"attached", 1}, {"up", 1}}));
  EXPECT_EQ(status["tables"][0], (json{{"table", "flows_v4"}, {"used", 7}, {"limit", 1024}}));
  EXPECT_EQ(status["ledger"]["dropped"], 2);
  EXPECT_TRUE(status["problems"].empty());
  bench.state.input_problems = {"a.yaml:3: Service default/x: ports: is empty"};
  bench.state.build_problems = {{"Service default/y", "node port 30080 is taken"}};
  problems = {"attachment bad"};
  check_problems = {"health check bad"};
  bench.state.store.synced = false;
  bench.state.source_healthy = false;
  status = result("status");
  EXPECT_EQ(status["synced"], false);
  EXPECT_EQ(status["problems"], (json{"a.yaml:3: Service default/x: ports: is empty",
                                      "Service default/y: node port 30080 is taken",
                                      "attachment bad", "health check bad"}));
  const std::string text = report_text("status", status, false);
  EXPECT_NE(text.find("NOT SYNCED"), std::string::npos);
  EXPECT_NE(text.find("STALE"), std::string::npos);
  EXPECT_NE(text.find("4 problems:\n  a.yaml:3: "), std::string::npos);
  EXPECT_NE(text.find("ledger: 10 received + 0 originated = 7 sent + 2 dropped + 1 holding\n"),
            std::string::npos)
      << text;
}

TEST_F(CtlTest, PodsTellTheirPortsAndWhoIsMissing) {
  bench.add_pod("waiting").ips = {ip("10.0.0.4")};
  bench.add_pod("elsewhere").node_name = "n2";
  const json pods = result("pods");
  ASSERT_EQ(pods.size(), 2U);
  EXPECT_EQ(pods[0]["pod"], "default/waiting");
  EXPECT_EQ(pods[0]["attached"], false);
  EXPECT_EQ(pods[1]["pod"], "default/web");
  EXPECT_EQ(pods[1]["port"]["rxPackets"], 5);
  const std::string text = report_text("pods", pods, false);
  EXPECT_NE(text.find("not attached"), std::string::npos) << text;
}

TEST_F(CtlTest, PodsTellTheirBandwidth) {
  EXPECT_FALSE(result("pods")[0].contains("bandwidth"));
  auto& attachment = bench.state.attachments.at(0);
  attachment.wishes.bandwidth = {10'000'000, 4'294'967'295, 0, 0};
  attachment.limits = std::make_shared<tables::PortLimits>();
  const json pods = result("pods");
  EXPECT_EQ(pods[0]["bandwidth"], (json{{"ingressRate", 10'000'000},
                                        {"ingressBurst", 4'294'967'295},
                                        {"egressRate", 0},
                                        {"egressBurst", 0}}));
  const std::string text = report_text("pods", pods, false);
  EXPECT_NE(text.find("\ndefault/web/eth0: is sent at most 10.00Mbit/s, bursts of 4.29Gbit\n"),
            std::string::npos)
      << text;
}

TEST_F(CtlTest, ServicesGatherTheirFrontends) {
  const json services = result("services");
  ASSERT_EQ(services.size(), 1U);
  EXPECT_EQ(services[0]["name"], "default/web:http");
  EXPECT_EQ(services[0]["frontends"].size(), 2U);
  EXPECT_EQ(services[0]["backends"].size(), 2U);
  EXPECT_EQ(services[0]["backends"][0],
            (json{{"address", "10.0.0.1"}, {"port", 8080}, {"local", true}}));
  const std::string text = report_text("services", services, false);
  EXPECT_NE(text.find("10.96.0.10"), std::string::npos) << text;
  EXPECT_NE(text.find("nodePort"), std::string::npos) << text;
}

TEST_F(CtlTest, PoliciesNameThePodsOfThisNodeTheySelect) {
  kube::NetworkPolicy policy;
  policy.meta.ns = "default";
  policy.meta.name = "deny";
  policy.pod_selector.match_labels = {{"app", "web"}};
  bench.state.store.network_policies["default/deny"] = policy;
  bench.state.store.pods["default/web"].meta.labels = {{"app", "web"}};
  auto& remote = bench.add_pod("remote");
  remote.meta.labels = {{"app", "web"}};
  remote.node_name = "n2";
  const json policies = result("policies");
  EXPECT_EQ(policies[0]["localPods"], json{"default/web"});
  EXPECT_NE(report_text("policies", policies, false).find("default/web"), std::string::npos);
}

TEST_F(CtlTest, PoliciesStandInTheOrderOfTheirTiersAndSayWhatFailsClosed) {
  auto& all = bench.state.store.cluster_network_policies;
  const auto add = [&](const char* name, kube::ClusterNetworkPolicy::Tier tier,
                       std::uint16_t priority) -> kube::ClusterNetworkPolicy& {
    kube::ClusterNetworkPolicy policy;
    policy.meta.name = name;
    policy.tier = tier;
    policy.priority = priority;
    return all[name] = policy;
  };
  add("base", kube::ClusterNetworkPolicy::Tier::baseline, 1);
  add("a-later", kube::ClusterNetworkPolicy::Tier::admin, 10);
  auto& first = add("first", kube::ClusterNetworkPolicy::Tier::admin, 9);
  first.ingress.resize(2);
  first.doubts = {"spec.ingress[1].from[0]: is a peer that podwire does not know"};
  first.subject.namespaces.match_labels = {{"kubernetes.io/metadata.name", "default"}};
  kube::NetworkPolicy policy;
  policy.meta.ns = "default";
  policy.meta.name = "deny";
  bench.state.store.network_policies["default/deny"] = policy;
  bench.state.input_problems = {"x.yaml:3: NetworkPolicy default/deny: spec.ingress: is wrong"};
  const json policies = result("policies");
  std::vector<std::string> names;
  for (const json& row : policies) names.push_back(row["policy"]);
  EXPECT_EQ(names, (std::vector<std::string>{"first", "a-later", "default/deny", "base"}));
  EXPECT_EQ(policies[0]["tier"], "Admin");
  EXPECT_EQ(policies[0]["priority"], 9);
  EXPECT_EQ(policies[0]["ingressRules"], 2);
  EXPECT_EQ(policies[0]["egress"], false);
  EXPECT_EQ(policies[0]["localPods"], json{"default/web"});
  EXPECT_EQ(policies[2]["tier"], "NetworkPolicy");
  EXPECT_EQ(policies[2]["refused"], bench.state.input_problems[0]);
  EXPECT_TRUE(policies[3]["refused"].is_null());
  EXPECT_EQ(policies[3]["tier"], "Baseline");
  const std::string text = report_text("policies", policies, false);
  EXPECT_NE(
      text.find("first: spec.ingress[1].from[0]: is a peer that podwire does not know (fails"),
      std::string::npos)
      << text;
}

TEST_F(CtlTest, PoliciesTellTheirDropsWhereThatIsAskedFor) {
  kube::NetworkPolicy policy;
  policy.meta.ns = "default";
  policy.meta.name = "deny";
  bench.state.store.network_policies["default/deny"] = policy;
  EXPECT_EQ(result("policies")[0]["drops"], nullptr);
  bench.config.count_policy_drops = true;
  EXPECT_EQ(result("policies")[0]["drops"], 0);
  auto table = std::make_shared<tables::PolicyTable>();
  table->set_policy_names(std::make_shared<const std::vector<std::string>>(
      std::vector<std::string>{"none", "default/deny"}));
  auto snapshot = std::make_unique<tables::Snapshot>(*bench.state.snapshot);
  snapshot->policies = table;
  bench.state.snapshot = snapshot.get();
  bench.dataplane.worker_counters[0]->policy_drops[1].add(7);
  EXPECT_EQ(result("policies")[0]["drops"], 7);
}

TEST_F(CtlTest, ExplainAnswersLines) {
  const json answered = ask({{"command", "explain"}, {"lines", "x\n{}\n"}});
  EXPECT_EQ(answered["result"], json::array({{{"error", "the line is not a JSON object"}},
                                             {{"error", "from: is not given"}}}));
  EXPECT_EQ(ask({{"command", "explain"}})["error"], "lines is not a string");
  EXPECT_EQ(ask({{"command", "explain"}, {"lines", std::string(100'000, 'x')}})["error"],
            "lines are too long");
  const json question{{"from", "default/web"}, {"to", "10.0.0.9"}, {"port", 1}};
  const json unready = ask({{"command", "explain"}, {"lines", question.dump()}});
  EXPECT_EQ(unready["result"][0]["verdict"], "allow") << unready;
}

TEST_F(CtlTest, RoutesShowTheTunnel) {
  const json routes = result("routes");
  ASSERT_EQ(routes.size(), 1U);
  EXPECT_EQ(routes[0]["prefix"], "10.0.1.0/24");
  EXPECT_EQ(routes[0]["kind"], "tunnel");
  EXPECT_EQ(routes[0]["tunnelTo"], "192.0.2.2");
  EXPECT_NE(report_text("routes", routes, false).find("192.0.2.2"), std::string::npos);
}

TEST_F(CtlTest, RoutesShowSeveralPathsAndWhatIsAskedFor) {
  bench.routes->next_hops.resize(5);
  bench.routes->next_hops[2].gateway = ip("192.0.2.7");
  bench.routes->next_hops[2].kind = bench.routes->next_hops[3].kind = tables::NextHopKind::link;
  bench.routes->next_hops[4].kind = tables::NextHopKind::several;
  bench.routes->groups = {std::make_shared<tables::PathGroup>(
      std::vector<tables::PathGroup::Path>{{2, 1, 7}, {3, 1, 8}})};
  bench.routes->prefixes.set(*net::Prefix::parse("10.2.0.0/16"), 4);
  const auto asked = [&](const char* to) { return ask({{"command", "routes"}, {"to", to}}); };
  const json routes = asked("10.2.3.0/24")["result"];
  ASSERT_EQ(routes.size(), 1U);
  EXPECT_EQ(routes[0]["kind"], "several");
  ASSERT_EQ(routes[0]["paths"].size(), 2U);
  EXPECT_EQ(routes[0]["paths"][0]["gateway"], "192.0.2.7");
  EXPECT_NEAR(routes[0]["paths"][1]["share"].get<double>(), 0.5, 0.06);
  EXPECT_NE(report_text("routes", routes, false).find("192.0.2.7"), std::string::npos);
  EXPECT_EQ(asked("10.0.0.0/8")["result"].size(), 2U);
  EXPECT_EQ(asked("nowhere")["error"], "to: \"nowhere\" is no address or prefix");
}

TEST_F(CtlTest, FlowsAreChosenByPodServiceAndProtocol) {
  const auto count = [&](json request) {
    request["command"] = "flows";
    return ask(request)["result"].size();
  };
  EXPECT_EQ(count(json::object()), 2U);
  EXPECT_EQ(count({{"limit", 1}}), 1U);
  EXPECT_EQ(count({{"protocol", "udp"}}), 1U);
  EXPECT_EQ(count({{"protocol", "132"}}), 0U);
  EXPECT_EQ(count({{"pod", "default/web"}}), 1U);
  EXPECT_EQ(count({{"service", "default/web"}}), 1U);
  EXPECT_EQ(count({{"service", "default/web:http"}}), 1U);
  const json flows = ask({{"command", "flows"}, {"service", "default/web"}})["result"];
  EXPECT_EQ(flows[0]["source"], "10.0.0.2:1234");
  EXPECT_EQ(flows[0]["service"], "default/web:http");
  EXPECT_NE(report_text("flows", flows, false).find("established"), std::string::npos);
}

TEST_F(CtlTest, RefusesWithASentence) {
  const auto error = [&](const std::string& line) {
    return json::parse(answer(line, sources, explainer))["error"].get<std::string>();
  };
  EXPECT_EQ(error("{"), "the request is not a JSON object");
  EXPECT_EQ(error("{}"), "command is missing or not a string");
  EXPECT_EQ(error(R"({"command":"fly"})"), "command \"fly\" is not known to this podwired");
  EXPECT_EQ(error(R"({"command":"flows","limit":-1})"), "limit is not a number from 0 to 10000000");
  EXPECT_EQ(error(R"({"command":"flows","pod":1})"), "pod is not a string");
  EXPECT_EQ(error(R"({"command":"flows","pod":"a/b"})"),
            "no Pod a/b with an address is known here");
  EXPECT_EQ(error(R"({"command":"flows","service":"default/we"})"),
            "no Service default/we is in force");
  EXPECT_EQ(error(R"({"command":"flows","protocol":"300"})"),
            "protocol: \"300\" is not tcp, udp, sctp, icmp, icmpv6 or a number from 0 to 255");
  EXPECT_FALSE(error("{\"command\":\"\xff\"}").empty());
}

TEST_F(CtlTest, DropsTellReasonsMeaningAndLedger) {
  const json drops = result("drops");
  EXPECT_EQ(drops["reasons"].size(), kReasons - 1);
  const std::string text = report_text("drops", drops, false);
  EXPECT_NE(text.find("spoofed_ip"), std::string::npos);
  EXPECT_NE(text.find("source IP address is not the pod's"), std::string::npos);
  EXPECT_EQ(text.find("too_big"), std::string::npos);
  EXPECT_NE(report_text("drops", drops, true).find("too_big"), std::string::npos);
}

TEST_F(CtlTest, CountersTellWhatPortsMadeAndLost) {
  static_cast<FakePort&>(*bench.state.attachments[0].port).counts = {
      .originated = 101, .missed = 202, .unsent = 303};
  const json counters = result("counters");
  ASSERT_FALSE(counters["ports"].empty());
  EXPECT_EQ(counters["ports"][0]["originated"], 101);
  EXPECT_EQ(counters["ports"][0]["missed"], 202);
  EXPECT_EQ(counters["ports"][0]["unsent"], 303);
  const std::string text = report_text("counters", counters, false);
  EXPECT_NE(text.find("UNSENT"), std::string::npos) << text;
  EXPECT_NE(text.find("303"), std::string::npos) << text;
}

TEST_F(CtlTest, CountersAndTopHaveText) {
  EXPECT_NE(report_text("counters", result("counters"), false).find("WORKER-0"), std::string::npos);
  sampler.sample(3);
  bench.dataplane.worker_counters[0]->drops[static_cast<std::size_t>(Reason::too_big)].add(1000);
  sampler.sample(3);
  const std::string text = report_text("top", result("top"), false);
  EXPECT_NE(text.find("podwired on n1"), std::string::npos);
  EXPECT_NE(text.find("too_big"), std::string::npos) << text;
}

TEST_F(CtlTest, WorksBeforeTheFirstSnapshot) {
  bench.state.snapshot = nullptr;
  for (const char* command :
       {"status", "pods", "services", "policies", "routes", "drops", "counters", "top"}) {
    const json answered = result(command);
    EXPECT_FALSE(report_text(command, answered, true).empty()) << command;
  }
}

TEST(TableText, AlignsNumbersToTheRight) {
  EXPECT_EQ(table_text({"NAME", "N"}, {{"a", "1"}, {"long", "100"}}),
            "NAME    N\na       1\nlong  100\n");
}

}  // namespace
}  // namespace podwire::control::ctl
