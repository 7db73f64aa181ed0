#include "control/apiserver/resource.h"

namespace podwire::control::apiserver {
namespace {

constexpr const char* kOwnServices = "!service.kubernetes.io/service-proxy-name";

std::string query_of(const Resource::Place& place) {
  std::string query;
  const auto add = [&](const char* key, const char* value) {
    if (*value == '\0') return;
    query += (query.empty() ? "" : "&") + std::string(key) + "=" + percent_encoded(value);
  };
  add("labelSelector", place.label_selector);
  add("fieldSelector", place.field_selector);
  return query;
}

Resource bgp(kube::Kind kind, const char* plural, const char* path, const char* newer_path) {
  return {
      kind,
      plural,
      {{path, "crd.projectcalico.org/v1", "", ""}, {newer_path, "projectcalico.org/v3", "", ""}},
      true,
      true};
}

// Calico's own keeping of addresses; of one group alone, since podwire writes there too.
Resource calicos(kube::Kind kind, const char* plural, const char* path) {
  return {kind, plural, {{path, "crd.projectcalico.org/v1", "", ""}}, true};
}

}  // namespace

// Selectors: kube-proxy's for Services and slices; pods that have ended match no policy any more.
std::span<const Resource> resources() {
  using kube::Kind;
  static const std::vector<Resource> all{
      {Kind::node, "nodes", {{"/api/v1/nodes", "v1", "", ""}}},
      {Kind::name_space, "namespaces", {{"/api/v1/namespaces", "v1", "", ""}}},
      {Kind::pod,
       "pods",
       {{"/api/v1/pods", "v1", "", "status.phase!=Succeeded,status.phase!=Failed"}}},
      {Kind::service,
       "services",
       {{"/api/v1/services", "v1", kOwnServices, "spec.clusterIP!=None"},
        // Servers before 1.31 have no such field selector.
        {"/api/v1/services", "v1", kOwnServices, ""}}},
      {Kind::endpoint_slice,
       "endpointslices",
       {{"/apis/discovery.k8s.io/v1/endpointslices", "discovery.k8s.io/v1",
         "!service.kubernetes.io/headless", ""}}},
      {Kind::network_policy,
       "networkpolicies",
       {{"/apis/networking.k8s.io/v1/networkpolicies", "networking.k8s.io/v1", "", ""}}},
      {Kind::service_cidr,
       "servicecidrs",
       {{"/apis/networking.k8s.io/v1/servicecidrs", "networking.k8s.io/v1", "", ""}},
       true},
      {Kind::ip_pool,
       "ippools",
       {{"/apis/crd.projectcalico.org/v1/ippools", "crd.projectcalico.org/v1", "", ""},
        {"/apis/projectcalico.org/v3/ippools", "projectcalico.org/v3", "", ""}},
       true},
      {Kind::cluster_network_policy,
       "clusternetworkpolicies",
       {{"/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
         "policy.networking.k8s.io/v1alpha2", "", ""}},
       true},
      // Where passwords of BGP are, and of these only what people made: no tokens, no certificates.
      {Kind::secret,
       "secrets",
       {{"/api/v1/namespaces/kube-system/secrets", "v1", "", "type=Opaque"}},
       false,
       true},
      bgp(Kind::bgp_configuration, "bgpconfigurations",
          "/apis/crd.projectcalico.org/v1/bgpconfigurations",
          "/apis/projectcalico.org/v3/bgpconfigurations"),
      bgp(Kind::bgp_peer, "bgppeers", "/apis/crd.projectcalico.org/v1/bgppeers",
          "/apis/projectcalico.org/v3/bgppeers"),
      bgp(Kind::bgp_filter, "bgpfilters", "/apis/crd.projectcalico.org/v1/bgpfilters",
          "/apis/projectcalico.org/v3/bgpfilters"),
      calicos(Kind::block_affinity, "blockaffinities",
              "/apis/crd.projectcalico.org/v1/blockaffinities"),
      calicos(Kind::ipam_block, "ipamblocks", "/apis/crd.projectcalico.org/v1/ipamblocks"),
      calicos(Kind::ipam_config, "ipamconfigs", "/apis/crd.projectcalico.org/v1/ipamconfigs"),
      calicos(Kind::ip_reservation, "ipreservations",
              "/apis/crd.projectcalico.org/v1/ipreservations")};
  return all;
}

std::string api_group(const char* api_version) {
  const std::string version = api_version;
  const auto slash = version.find('/');
  return slash == std::string::npos ? "" : version.substr(0, slash);
}

std::string percent_encoded(std::string_view text) {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
        c == '.' || c == '_' || c == '~') {
      out += c;
    } else {
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

std::string list_path(const Resource::Place& place, const ListQuery& query) {
  std::string path = query_of(place);
  const auto add = [&](const std::string& part) { path += (path.empty() ? "" : "&") + part; };
  if (query.limit != 0) add("limit=" + std::to_string(query.limit));
  // The token says which version it goes on with.
  if (!query.continue_token.empty()) {
    add("continue=" + percent_encoded(query.continue_token));
  } else if (!query.resource_version.empty()) {
    add("resourceVersion=" + percent_encoded(query.resource_version));
    add("resourceVersionMatch=NotOlderThan");
  }
  return place.path + (path.empty() ? "" : "?" + path);
}

std::string watch_path(const Resource::Place& place, const std::string& resource_version,
                       unsigned timeout_seconds) {
  const std::string selectors = query_of(place);
  return std::string(place.path) + "?" + (selectors.empty() ? "" : selectors + "&") +
         "watch=1&allowWatchBookmarks=true&resourceVersion=" + percent_encoded(resource_version) +
         "&timeoutSeconds=" + std::to_string(timeout_seconds);
}

}  // namespace podwire::control::apiserver
