// What load balancers are told: kube-proxy's /healthz and /livez, and the Services' health checks.
#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <nlohmann/json.hpp>
#include <thread>

#include "control/serve/proxy_health.h"
#include "control/serve/proxy_metrics.h"
#include "control/serve/service_health.h"
#include "control/time_text.h"
#include "tests/unit/control/fake_dataplane.h"

namespace podwire::control {
namespace {

using boost::asio::ip::tcp;
using nlohmann::json;
using namespace std::chrono_literals;

class HealthTest : public testing::Test {
 protected:
  HealthTest() { bench.state.sync.in_force(); }
  Bench bench;
  Sampler sampler{bench.dataplane};
  ProxyHealth health{bench.state, sampler};
};

TEST_F(HealthTest, ServesOnceObjectsAreInForce) {
  EXPECT_EQ(health.healthz().status, 200);
  EXPECT_EQ(health.livez().status, 200);
  bench.state.store.synced = false;
  bench.publish();
  EXPECT_EQ(health.healthz().status, 503);
  EXPECT_EQ(health.livez().status, 503);
  EXPECT_EQ(health.healthz_answers(), (ProxyHealth::Answers{{200, 1}, {503, 1}}));
}

TEST_F(HealthTest, SaysSoInKubeProxysForm) {
  const Page page = health.healthz();
  EXPECT_EQ(page.type, "application/json");
  const json body = json::parse(page.body);
  EXPECT_TRUE(parse_time(body["lastUpdated"].get<std::string>()));
  EXPECT_TRUE(parse_time(body["currentTime"].get<std::string>()));
  EXPECT_EQ(body["nodeEligible"], true);
  EXPECT_EQ(body["healthy"], true);
  EXPECT_EQ(body["status"]["IPv4"]["healthy"], true);
  EXPECT_EQ(body["status"]["IPv6"]["healthy"], true);
  EXPECT_FALSE(json::parse(health.livez().body).contains("nodeEligible"));
}

TEST_F(HealthTest, ANodeThatIsAboutToGoGetsNoNewConnections) {
  kube::Node& node = bench.state.store.nodes["n1"];
  for (bool* mark : {&node.leaving, &node.meta.deleting}) {
    *mark = true;
    EXPECT_EQ(health.healthz().status, 503);
    EXPECT_EQ(json::parse(health.healthz().body)["nodeEligible"], false);
    EXPECT_EQ(json::parse(health.healthz().body)["healthy"], true);
    EXPECT_EQ(health.livez().status, 200);
    *mark = false;
  }
  bench.state.store.nodes.clear();
  EXPECT_EQ(health.healthz().status, 503);
}

TEST(SyncRecord, AChangeWaitsFromItsComingUntilItIsInForce) {
  Store objects;
  const StoreWriter store(objects);
  SyncRecord sync;
  EXPECT_FALSE(sync.waiting_since());
  sync.queued();
  const auto first = sync.waiting_since();
  ASSERT_TRUE(first);
  sync.published({}, store, 1ms);
  EXPECT_EQ(sync.waiting_since(), first);
  sync.queued();  // another, while the first is not in force
  EXPECT_EQ(sync.waiting_since(), first);
  sync.in_force();
  ASSERT_TRUE(sync.waiting_since());
  EXPECT_GE(*sync.waiting_since(), *first);
  sync.published({}, store, 1ms);
  sync.in_force();
  EXPECT_FALSE(sync.waiting_since());
}

TEST(SyncRecord, MeasuresFromTheCauseOfAnEndpointsChange) {
  Store objects;
  StoreWriter store(objects);
  SyncRecord sync;
  const auto count = [&] { return sync.programming_seconds().Collect().histogram.sample_count; };
  kube::EndpointSlice slice;
  slice.meta.ns = "default";
  slice.meta.name = "web-1";
  slice.service = "web";
  std::string& trigger = slice.meta.annotations["endpoints.kubernetes.io/last-change-trigger-time"];
  const auto publish = [&] {
    store.put(slice);
    sync.published(store.take_changes(), store, 1ms);
    sync.in_force();
  };
  trigger = "2020-01-01T00:00:00Z";  // before podwired began: nobody waited for it
  publish();
  EXPECT_EQ(count(), 0U);
  trigger = format_time(std::chrono::system_clock::now() + 2s);
  publish();
  EXPECT_EQ(count(), 1U);
  slice.ports.emplace_back();  // changed, but for the same cause
  publish();
  EXPECT_EQ(count(), 1U);
  trigger = "yesterday";
  publish();
  EXPECT_EQ(count(), 1U);
}

TEST(Time, IsReadAsKubernetesWritesIt) {
  const auto time = parse_time("2026-11-22T10:00:00.25Z");
  ASSERT_TRUE(time);
  EXPECT_EQ(format_time(*time), "2026-11-22T10:00:00Z");
  EXPECT_EQ(*time - *parse_time("2026-11-22T10:00:00Z"), 250ms);
  for (const char* text : {"", "2026-11-22", "2026-11-22T10:00:00", "2026-11-22T10:00:00+01:00",
                           "2026-11-22T10:00:00.Zz"}) {
    EXPECT_FALSE(parse_time(text)) << text;
  }
}

class ServiceHealthTest : public HealthTest {
 protected:
  ServiceHealthTest() {
    bench.services->node_port_addresses = {*net::Address::parse("127.0.0.1")};
    service.meta.ns = "default";
    service.meta.name = "web";
    service.type = kube::Service::Type::load_balancer;
    service.external_policy = kube::TrafficPolicy::local;
    service.cluster_ips = {*net::Address::parse("10.96.0.1")};
    service.health_check_port = tcp::acceptor(io, {tcp::v4(), 0}).local_endpoint().port();
    slice.meta.ns = "default";
    slice.meta.name = "web-1";
    slice.service = "web";
  }
  void add(const char* address, const char* node, bool ready) {
    kube::Endpoint endpoint;
    endpoint.address = *net::Address::parse(address);
    endpoint.node_name = node;
    endpoint.ready = ready;
    slice.endpoints.push_back(endpoint);
  }
  void follow() {
    store.put(service);
    store.put(slice);
    checks.follow(store.take_changes(), store);
  }
  std::string ask() {
    std::string answer;
    std::thread asking([&] {
      boost::asio::io_context own;
      tcp::socket socket(own);
      boost::system::error_code error;
      socket.connect({boost::asio::ip::make_address("127.0.0.1"), service.health_check_port},
                     error);
      if (!error) {
        boost::asio::write(socket, boost::asio::buffer(std::string("GET /x HTTP/1.0\r\n\r\n")));
        boost::asio::read(socket, boost::asio::dynamic_buffer(answer), error);
      }
      boost::asio::post(io, [&] { io.stop(); });
    });
    boost::asio::executor_work_guard work(io.get_executor());
    io.run();
    io.restart();
    asking.join();
    return answer;
  }

  boost::asio::io_context io;
  Store objects;
  StoreWriter store{objects};
  kube::Service service;
  kube::EndpointSlice slice;
  bool healthy = true;
  ServiceHealth checks{io, bench.state, [this] { return healthy; }};
};

TEST_F(ServiceHealthTest, CountsTheReadyEndpointsOfThisNode) {
  add("10.0.0.1", "n1", true);
  add("10.0.0.1", "n1", true);  // another port of the same pod
  add("10.0.0.2", "n1", false);
  add("10.0.1.1", "n2", true);
  follow();
  const std::string answer = ask();
  EXPECT_EQ(answer.rfind("HTTP/1.1 200", 0), 0U) << answer;
  EXPECT_NE(answer.find("X-Load-Balancing-Endpoint-Weight: 1\r\n"), std::string::npos) << answer;
  const json body = json::parse(answer.substr(answer.find("\r\n\r\n")));
  EXPECT_EQ(body, json::parse(R"({"service": {"namespace": "default", "name": "web"},
                                  "localEndpoints": 1, "serviceProxyHealthy": true})"));
  healthy = false;
  EXPECT_EQ(ask().rfind("HTTP/1.1 503", 0), 0U);
  healthy = true;
  slice.endpoints.erase(slice.endpoints.begin(), slice.endpoints.begin() + 2);
  follow();
  EXPECT_EQ(ask().rfind("HTTP/1.1 503", 0), 0U);
}

TEST_F(ServiceHealthTest, IsServedOnlyWhileTheServiceAsksForIt) {
  follow();
  EXPECT_NE(ask(), "");
  const std::uint16_t port = std::exchange(service.health_check_port, 0);
  follow();
  EXPECT_EQ(checks.listening(), 0U);
  service.health_check_port = port;
  follow();
  store.remove(kube::Kind::service, "default/web");
  checks.follow(store.take_changes(), store);
  EXPECT_EQ(ask(), "");
}

TEST_F(ServiceHealthTest, NamesTheServiceWhosePortIsTaken) {
  auto other = std::make_unique<tcp::acceptor>(
      io, tcp::endpoint(boost::asio::ip::make_address("127.0.0.1"), service.health_check_port));
  follow();
  EXPECT_EQ(checks.problems(),
            std::vector<std::string>{"Service default/web: spec.healthCheckNodePort: 127.0.0.1:" +
                                     std::to_string(service.health_check_port) +
                                     " is in use by another program"});
  other.reset();
  checks.follow({}, store);
  EXPECT_TRUE(checks.problems().empty());
  EXPECT_NE(ask(), "");
}

TEST_F(HealthTest, MetricsKeepKubeProxysNames) {
  auto service = std::make_shared<tables::Service>();
  service->id = 1;
  service->internal_local = true;
  service->has_any_endpoint = true;
  tables::Frontend frontend;
  frontend.service = service;
  bench.services->frontends.set({*net::Address::parse("10.96.0.1"), net::be16(80), 6}, frontend);
  bench.publish();
  health.healthz();
  std::map<std::string, prometheus::MetricFamily> families;
  for (auto& family : proxy_metrics(bench.state, health)) families[family.name] = family;
  const auto& without = families.at("kubeproxy_sync_proxy_rules_no_local_endpoints_total");
  EXPECT_EQ(without.metric[0].label[0].value, "internal");
  EXPECT_EQ(without.metric[0].gauge.value, 1);
  EXPECT_EQ(without.metric[1].gauge.value, 0);
  EXPECT_EQ(families.at("kubeproxy_proxy_healthz_total").metric[0].counter.value, 1);
  EXPECT_TRUE(families.contains("kubeproxy_network_programming_duration_seconds"));
}

}  // namespace
}  // namespace podwire::control
