#include "control/manifests/endpoints.h"

#include <gtest/gtest.h>

#include "control/kube/decode.h"
#include "control/manifests/namespaces.h"

namespace podwire::control::manifests {
namespace {

using nlohmann::json;

class EndpointsTest : public testing::Test {
 protected:
  void put(const json& object) {
    auto decoded = kube::decode(object);
    ASSERT_TRUE(decoded) << decoded.error().message;
    writer.put(std::move(*decoded));
  }
  // Returns what the builders would be told.
  Changes settle() {
    endpoints.update(writer);
    return writer.take_changes();
  }
  static json pod(const std::string& name, const std::string& app, const char* ip,
                  std::uint16_t port = 8080) {
    return {{"apiVersion", "v1"},
            {"kind", "Pod"},
            {"metadata", {{"name", name}, {"labels", {{"app", app}, {"x", "y"}}}}},
            {"spec",
             {{"nodeName", "n1"},
              {"containers", {{{"ports", {{{"name", "http"}, {"containerPort", port}}}}}}}}},
            {"status", {{"podIPs", {{{"ip", ip}}}}}}};
  }
  static json service(const std::string& name, const std::string& app) {
    return {{"apiVersion", "v1"},
            {"kind", "Service"},
            {"metadata", {{"name", name}}},
            {"spec",
             {{"clusterIP", "10.96.0.1"},
              {"selector", {{"app", app}}},
              {"ports",
               {{{"name", "web"}, {"port", 80}, {"targetPort", "http"}},
                {{"name", "raw"}, {"port", 81}}}}}}};
  }
  // "10.244.1.1:8080/web 10.244.1.1:81/raw", sorted.
  std::set<std::string> targets(const std::string& name) {
    std::set<std::string> all;
    const auto* const slices = writer.slices_of("default/" + name);
    if (slices == nullptr) return all;
    for (const auto& slice_name : *slices) {
      const kube::EndpointSlice& slice = store.endpoint_slices.at(slice_name);
      for (const auto& endpoint : slice.endpoints) {
        EXPECT_EQ(endpoint.address.family(), slice.family);
        for (const auto& port : slice.ports) {
          all.insert(endpoint.address.to_string() + ":" + std::to_string(port.port) + "/" +
                     port.name);
        }
      }
    }
    return all;
  }
  const kube::Endpoint& only_endpoint(const std::string& name) {
    const auto& slices = *writer.slices_of("default/" + name);
    EXPECT_EQ(slices.size(), 1);
    const auto& endpoints_of = store.endpoint_slices.at(*slices.begin()).endpoints;
    EXPECT_EQ(endpoints_of.size(), 1);
    return endpoints_of[0];
  }
  using Targets = std::set<std::string>;

  Store store;
  StoreWriter writer{store};
  Endpoints endpoints;
};

TEST_F(EndpointsTest, AreTheReadyPodsThatTheSelectorMatches) {
  put(service("web", "web"));
  put(pod("a", "web", "10.244.1.1"));
  put(pod("b", "db", "10.244.1.2"));
  settle();
  EXPECT_EQ(targets("web"), (Targets{"10.244.1.1:8080/web", "10.244.1.1:81/raw"}));
  const kube::Endpoint& endpoint = only_endpoint("web");
  EXPECT_EQ(endpoint.pod, "default/a");
  EXPECT_EQ(endpoint.node_name, "n1");
  EXPECT_TRUE(endpoint.ready && endpoint.serving && !endpoint.terminating);
}

TEST_F(EndpointsTest, FollowPodsThatComeRelabelAndGo) {
  put(pod("a", "web", "10.244.1.1"));
  put(service("web", "web"));
  settle();
  put(pod("b", "web", "10.244.1.2"));
  settle();
  EXPECT_EQ(targets("web").size(), 4);
  put(pod("a", "old", "10.244.1.1"));
  settle();
  EXPECT_EQ(targets("web"), (Targets{"10.244.1.2:8080/web", "10.244.1.2:81/raw"}));
  writer.remove(kube::Kind::pod, "default/b");
  settle();
  EXPECT_TRUE(targets("web").empty());
  EXPECT_TRUE(store.endpoint_slices.empty());
}

TEST_F(EndpointsTest, FollowTheService) {
  put(pod("a", "web", "10.244.1.1"));
  put(pod("b", "db", "10.244.1.2"));
  put(service("web", "web"));
  settle();
  put(service("web", "db"));
  settle();
  EXPECT_EQ(targets("web"), (Targets{"10.244.1.2:8080/web", "10.244.1.2:81/raw"}));
  put(pod("a", "web", "10.244.1.9"));
  EXPECT_TRUE(settle().service_endpoints.empty()) << "the old selector still counts";
  writer.remove(kube::Kind::service, "default/web");
  settle();
  EXPECT_TRUE(store.endpoint_slices.empty());
}

TEST_F(EndpointsTest, AChangeTouchesOnlyServicesThatSelectThePod) {
  put(service("web", "web"));
  put(service("db", "db"));
  put(pod("a", "web", "10.244.1.1"));
  put(pod("b", "db", "10.244.1.2"));
  settle();
  put(pod("a", "web", "10.244.1.3"));
  EXPECT_EQ(settle().service_endpoints, std::vector<std::string>{"default/web"});
  // A pod of the same labels in another namespace is none of theirs.
  json other = pod("a", "web", "10.244.1.4");
  other["metadata"]["namespace"] = "shop";
  put(other);
  EXPECT_TRUE(settle().service_endpoints.empty());
}

TEST_F(EndpointsTest, NamedPortsAreResolvedPerPod) {
  put(service("web", "web"));
  put(pod("a", "web", "10.244.1.1", 8080));
  put(pod("b", "web", "10.244.1.2", 9090));
  json unnamed = pod("c", "web", "10.244.1.3");
  unnamed["spec"].erase("containers");
  put(unnamed);
  settle();
  EXPECT_EQ(targets("web"),
            (Targets{"10.244.1.1:8080/web", "10.244.1.1:81/raw", "10.244.1.2:9090/web",
                     "10.244.1.2:81/raw", "10.244.1.3:81/raw"}));
}

TEST_F(EndpointsTest, ConditionsFollowReadinessAndDeletion) {
  json web = service("web", "web");
  put(web);
  json a = pod("a", "web", "10.244.1.1");
  a["status"]["conditions"] = {{{"type", "Ready"}, {"status", "False"}}};
  put(a);
  settle();
  EXPECT_FALSE(only_endpoint("web").ready || only_endpoint("web").serving);
  web["spec"]["publishNotReadyAddresses"] = true;
  put(web);
  settle();
  EXPECT_TRUE(only_endpoint("web").ready);
  EXPECT_FALSE(only_endpoint("web").serving);
  web["spec"].erase("publishNotReadyAddresses");
  put(web);
  a["status"].erase("conditions");
  a["metadata"]["deletionTimestamp"] = "2026-11-22T10:00:00Z";
  put(a);
  settle();
  EXPECT_TRUE(!only_endpoint("web").ready && only_endpoint("web").serving &&
              only_endpoint("web").terminating);
}

TEST_F(EndpointsTest, FinishedPodsAndPodsWithoutAddressAreNone) {
  put(service("web", "web"));
  json a = pod("a", "web", "10.244.1.1");
  a["status"]["phase"] = "Succeeded";
  put(a);
  json b = pod("b", "web", "10.244.1.2");
  b.erase("status");
  put(b);
  settle();
  EXPECT_TRUE(targets("web").empty());
}

TEST_F(EndpointsTest, BothFamiliesWhereTheServiceHasBoth) {
  json web = service("web", "web");
  web["spec"]["clusterIPs"] = {"10.96.0.1", "fd00:96::1"};
  put(web);
  json a = pod("a", "web", "10.244.1.1");
  a["status"]["podIPs"].push_back({{"ip", "fd00:1::1"}});
  put(a);
  settle();
  EXPECT_EQ(targets("web"), (Targets{"10.244.1.1:8080/web", "10.244.1.1:81/raw",
                                     "fd00:1::1:8080/web", "fd00:1::1:81/raw"}));
}

TEST_F(EndpointsTest, HostNetworkPodsHaveTheNodesAddresses) {
  put(service("web", "web"));
  json a = pod("a", "web", "10.244.1.1");
  a.erase("status");
  a["spec"]["hostNetwork"] = true;
  put(a);
  settle();
  EXPECT_TRUE(targets("web").empty());
  put({{"apiVersion", "v1"},
       {"kind", "Node"},
       {"metadata", {{"name", "n1"}}},
       {"status", {{"addresses", {{{"type", "InternalIP"}, {"address", "10.0.0.2"}}}}}}});
  settle();
  EXPECT_EQ(targets("web"), (Targets{"10.0.0.2:8080/web", "10.0.0.2:81/raw"}));
}

TEST_F(EndpointsTest, GivenSlicesGoBeforeComputedOnes) {
  put(service("web", "web"));
  put(pod("a", "web", "10.244.1.1"));
  settle();
  ASSERT_EQ(targets("web").size(), 2);
  put({{"apiVersion", "discovery.k8s.io/v1"},
       {"kind", "EndpointSlice"},
       {"metadata", {{"name", "mine"}, {"labels", {{"kubernetes.io/service-name", "web"}}}}},
       {"addressType", "IPv4"},
       {"ports", {{{"name", "web"}, {"port", 7}}}},
       {"endpoints", {{{"addresses", {"10.9.9.9"}}}}}});
  settle();
  EXPECT_EQ(targets("web"), (Targets{"10.9.9.9:7/web"}));
  writer.remove(kube::Kind::endpoint_slice, "default/mine");
  settle();
  EXPECT_EQ(targets("web").size(), 2);
}

TEST_F(EndpointsTest, HeadlessServicesAndThoseWithoutSelectorHaveNone) {
  json web = service("web", "web");
  web["spec"]["clusterIP"] = "None";
  put(web);
  json bare = service("bare", "web");
  bare["spec"].erase("selector");
  put(bare);
  put(pod("a", "web", "10.244.1.1"));
  settle();
  EXPECT_TRUE(store.endpoint_slices.empty());
}

TEST_F(EndpointsTest, SeeTheAddressesThatTheCniPluginGave) {
  put(service("web", "web"));
  json a = pod("a", "web", "10.244.1.1");
  a.erase("status");
  put(a);
  settle();
  EXPECT_TRUE(targets("web").empty());
  writer.set_pod_addresses({{"default/a", {*net::Address::parse("10.244.1.7")}}});
  const Changes changes = settle();
  EXPECT_EQ(changes.pods, std::vector<std::string>{"default/a"});
  EXPECT_EQ(targets("web"), (Targets{"10.244.1.7:8080/web", "10.244.1.7:81/raw"}));
  // Also when the pod's manifest is read again, and until the attachment is gone.
  put(a);
  EXPECT_FALSE(settle().any());
  writer.set_pod_addresses({});
  settle();
  EXPECT_TRUE(targets("web").empty());
}

TEST_F(EndpointsTest, AddressesOfThePodItselfGoBeforeTheCniPlugins) {
  put(pod("a", "web", "10.244.1.1"));
  writer.set_pod_addresses({{"default/a", {*net::Address::parse("10.244.1.7")}}});
  EXPECT_EQ(store.pods.at("default/a").ips, std::vector{*net::Address::parse("10.244.1.1")});
  writer.set_pod_addresses({});
  EXPECT_EQ(store.pods.at("default/a").ips, std::vector{*net::Address::parse("10.244.1.1")});
}

TEST(StoreWriter, AnEqualObjectIsNoChange) {
  Store store;
  StoreWriter writer(store);
  kube::Pod pod;
  pod.meta.ns = "default";
  pod.meta.name = "a";
  pod.meta.origin = "a.yaml:1";
  writer.put(pod);
  EXPECT_EQ(writer.take_changes().pods, std::vector<std::string>{"default/a"});
  pod.meta.origin = "b.yaml:7";
  writer.put(pod);
  EXPECT_FALSE(writer.take_changes().any());
  EXPECT_EQ(store.pods.at("default/a").meta.origin, "b.yaml:7");
  pod.ready = false;
  writer.put(pod);
  EXPECT_TRUE(writer.take_changes().any());
}

TEST(StoreWriter, ALabelThatMakesAServiceVanishRemovesIt) {
  Store store;
  StoreWriter writer(store);
  kube::Service service;
  service.meta.ns = "default";
  service.meta.name = "a";
  writer.put(service);
  writer.take_changes();
  service.meta.labels["service.kubernetes.io/service-proxy-name"] = "other";
  writer.put(service);
  EXPECT_TRUE(store.services.empty());
  EXPECT_EQ(writer.take_changes().services, std::vector<std::string>{"default/a"});
}

TEST(StoreWriter, ASliceThatMovesTouchesBothServices) {
  Store store;
  StoreWriter writer(store);
  kube::EndpointSlice slice;
  slice.meta.ns = "default";
  slice.meta.name = "s";
  slice.service = "a";
  writer.put(slice);
  writer.take_changes();
  slice.service = "b";
  writer.put(slice);
  EXPECT_EQ(writer.take_changes().service_endpoints,
            (std::vector<std::string>{"default/a", "default/b"}));
  EXPECT_EQ(writer.slices_of("default/a"), nullptr);
  ASSERT_NE(writer.slices_of("default/b"), nullptr);
}

TEST(ImpliedNamespaces, ComeAndGoWithWhatIsInThem) {
  Store store;
  StoreWriter writer(store);
  ImpliedNamespaces namespaces;
  const auto settle = [&] {
    namespaces.update(writer);
    return writer.take_changes().namespaces;
  };
  kube::Pod pod;
  pod.meta.name = "a";
  for (const char* ns : {"x", "x-y", "z"}) {
    pod.meta.ns = ns;
    writer.put(pod);
  }
  kube::Namespace given;
  given.meta.name = "z";
  given.meta.labels = {{"team", "t"}};
  writer.put(given);
  EXPECT_TRUE(settle());
  EXPECT_EQ(store.namespaces.size(), 3);
  EXPECT_EQ(store.namespaces.at("x-y").meta.labels,
            (kube::Labels{{"kubernetes.io/metadata.name", "x-y"}}));
  EXPECT_EQ(store.namespaces.at("z").meta.labels, given.meta.labels);
  writer.remove(kube::Kind::pod, "x/a");
  EXPECT_TRUE(settle());
  EXPECT_FALSE(store.namespaces.contains("x"));
  writer.remove(kube::Kind::name_space, "z");
  settle();
  EXPECT_EQ(store.namespaces.at("z").meta.labels.size(), 1);
  pod.meta.labels["k"] = "v";
  pod.meta.ns = "z";
  writer.put(pod);
  EXPECT_FALSE(settle());
}

}  // namespace
}  // namespace podwire::control::manifests
