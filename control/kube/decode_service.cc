// Service (k8s.io/api/core/v1) and EndpointSlice (k8s.io/api/discovery/v1). Rules:
// k8s.io/kubernetes pkg/apis/core/validation ValidateService, pkg/apis/discovery/validation.
#include <algorithm>
#include <set>
#include <string_view>

#include "control/kube/decoders.h"

namespace podwire::control::kube {
namespace {

constexpr std::uint32_t kAffinitySeconds = 10800;  // DefaultClientIPServiceAffinitySeconds
constexpr std::uint32_t kMaxAffinitySeconds = 86400;
constexpr const char* kServiceName = "kubernetes.io/service-name";

// ValidateNonSpecialIP.
void refuse_special(const Reader& field, const net::Address& address) {
  const char* what = address.is_unspecified()  ? "the unspecified address"
                     : address.is_loopback()   ? "a loopback address"
                     : address.is_link_local() ? "a link-local address"
                     : address.is_multicast()  ? "a multicast address"
                                               : nullptr;
  if (what != nullptr) field.refuse(field.shown() + " is " + what);
}

void decode_cluster_ips(const Reader& spec, Service& service) {
  const Reader first = spec["clusterIP"];
  const std::vector<Reader> listed = spec["clusterIPs"].elements();
  std::vector<Reader> fields = listed;
  if (fields.empty() && first.present()) fields.push_back(first);
  if (!listed.empty() && first.present() && first.text() != listed[0].text()) {
    return first.refuse(first.shown() + " is not clusterIPs[0], " + listed[0].shown());
  }
  for (const Reader& field : fields) {
    const std::string given = field.text();
    if ((given == "None" || given.empty()) && fields.size() == 1) return;
    const auto address = field.address(true);
    if (!address) return;
    refuse_special(field, *address);
    for (const net::Address& other : service.cluster_ips) {
      if (other.family() == address->family()) {
        field.refuse(field.shown() + " is a second address of its family");
      }
    }
    service.cluster_ips.push_back(*address);
  }
}

void decode_load_balancer(const Reader& object, Service& service) {
  for (const Reader& field : object["spec"]["loadBalancerSourceRanges"].elements()) {
    // Blanks around a range are allowed (kube-proxy trims them).
    const std::string given = field.text();
    const auto begin = given.find_first_not_of(" \t\n\r");
    const auto end = given.find_last_not_of(" \t\n\r");
    const nlohmann::json trimmed =
        begin == std::string::npos ? "" : given.substr(begin, end - begin + 1);
    std::optional<FieldProblem> problem;
    if (const auto range = Reader(trimmed, problem).prefix(false, true)) {
      service.source_ranges.push_back(*range);
    } else {
      field.refuse(field.shown() + " is not a CIDR such as 10.0.0.0/8");
    }
  }
  if (service.type != Service::Type::load_balancer) return;
  for (const Reader& ingress : object["status"]["loadBalancer"]["ingress"].elements()) {
    const bool captured = ingress["ipMode"].one_of({"VIP", "Proxy"}, 0) == 0;
    const Reader ip = ingress["ip"];
    if (!ip.present() || ip.text().empty()) continue;
    const auto address = ip.address(true);
    if (address && captured) service.load_balancer_ips.push_back(*address);
  }
}

void check_port_name(const Reader& name, const std::string& given, bool several,
                     std::set<std::string>& names) {
  if (given.empty()) {
    if (several) name.refuse("is not given, but must be where there are several ports");
    return;
  }
  if (!is_dns_label(given)) name.refuse(name.shown() + " is not a name (a-z, 0-9, '-')");
  if (!names.insert(given).second) name.refuse(name.shown() + " is given twice");
}

ServicePort decode_service_port(const Reader& field, Service::Type type) {
  ServicePort port;
  port.name = field["name"].text();
  port.protocol = field["protocol"].protocol();
  if (!field["port"].present()) field["port"].refuse("is not given");
  port.port = field["port"].port();
  const Reader node_port = field["nodePort"];
  port.node_port = static_cast<std::uint16_t>(node_port.integer(0, 65535, 0));
  if (port.node_port != 0 && type != Service::Type::node_port &&
      type != Service::Type::load_balancer) {
    node_port.refuse(node_port.shown() +
                     " is given, but the Service is not of type NodePort or "
                     "LoadBalancer");
  }
  const Reader target = field["targetPort"];
  const std::optional<std::int64_t> zero = target.shown() == "0" ? std::optional(0) : std::nullopt;
  if (!zero && target.shown() != "\"\"") port.target_port = target.port_or_name();
  if (port.target_port == IntOrString{}) port.target_port.number = port.port;
  return port;
}

void decode_service_ports(const Reader& spec, Service& service) {
  const std::vector<Reader> fields = spec["ports"].elements();
  const bool optional = service.type == Service::Type::external_name || service.cluster_ips.empty();
  if (fields.empty() && !optional) return spec["ports"].refuse("none is given");
  std::set<std::string> names;
  std::set<std::pair<unsigned, unsigned>> numbers, node_ports;
  for (const Reader& field : fields) {
    ServicePort port = decode_service_port(field, service.type);
    check_port_name(field["name"], port.name, fields.size() > 1, names);
    if (!numbers.emplace(port.protocol, port.port).second) {
      field["port"].refuse(field["port"].shown() + " is given twice for its protocol");
    }
    if (port.node_port != 0 && !node_ports.emplace(port.protocol, port.node_port).second) {
      field["nodePort"].refuse(field["nodePort"].shown() + " is given twice for its protocol");
    }
    service.ports.push_back(std::move(port));
  }
}

void decode_affinity(const Reader& spec, Service& service) {
  const bool client_ip = spec["sessionAffinity"].one_of({"None", "ClientIP"}, 0) == 1;
  const auto seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].integer(
      1, kMaxAffinitySeconds, kAffinitySeconds);
  service.affinity_seconds = client_ip ? static_cast<std::uint32_t>(seconds) : 0;
}

Endpoint decode_endpoint(const Reader& field, net::Family family, const std::string& ns) {
  Endpoint endpoint;
  const std::vector<Reader> addresses = field["addresses"].elements();
  if (addresses.empty()) {
    field["addresses"].refuse("none is given");
  } else if (const auto address = addresses[0].address(true)) {
    // kube-proxy uses the first address only.
    endpoint.address = *address;
    refuse_special(addresses[0], *address);
    if (address->family() != family) {
      addresses[0].refuse(addresses[0].shown() + " is not of the slice's addressType");
    }
  }
  const Reader conditions = field["conditions"];
  endpoint.ready = conditions["ready"].boolean(true);
  endpoint.serving = conditions["serving"].boolean(true);
  endpoint.terminating = conditions["terminating"].boolean(false);
  endpoint.node_name = field["nodeName"].text();
  const Reader target = field["targetRef"];
  if (target["kind"].text() == "Pod") {
    const std::string given = target["namespace"].text();
    endpoint.pod = (given.empty() ? ns : given) + "/" + target["name"].text();
  }
  for (const Reader& hint : field["hints"]["forZones"].elements()) {
    endpoint.zone_hints.push_back(hint["name"].text());
  }
  for (const Reader& hint : field["hints"]["forNodes"].elements()) {
    endpoint.node_hints.push_back(hint["name"].text());
  }
  return endpoint;
}

}  // namespace

Service decode_service(const Reader& object, Meta meta) {
  Service service;
  service.meta = std::move(meta);
  const Reader spec = object["spec"];
  if (!spec.present()) spec.refuse("is not given");
  service.type = static_cast<Service::Type>(
      spec["type"].one_of({"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"}, 0));
  // A leftover clusterIP of an ExternalName is never served (kube-proxy ShouldSkipService).
  if (service.type != Service::Type::external_name) decode_cluster_ips(spec, service);
  for (const Reader& field : spec["externalIPs"].elements()) {
    const auto address = field.address(true);
    if (!address) continue;
    refuse_special(field, *address);
    service.external_ips.push_back(*address);
  }
  decode_load_balancer(object, service);
  decode_service_ports(spec, service);
  if (Labels selector = spec["selector"].text_map(); !selector.empty()) {
    service.selector = std::move(selector);
  }
  service.internal_policy =
      static_cast<TrafficPolicy>(spec["internalTrafficPolicy"].one_of({"Cluster", "Local"}, 0));
  service.external_policy =
      static_cast<TrafficPolicy>(spec["externalTrafficPolicy"].one_of({"Cluster", "Local"}, 0));
  // The API server keeps the number, also where the Service has no use for it (any more).
  const auto health_check = spec["healthCheckNodePort"].integer(0, 65535, 0);
  if (service.type == Service::Type::load_balancer &&
      service.external_policy == TrafficPolicy::local) {
    service.health_check_port = static_cast<std::uint16_t>(health_check);
  }
  decode_affinity(spec, service);
  service.publish_not_ready = spec["publishNotReadyAddresses"].boolean(false);
  return service;
}

ServiceCidr decode_service_cidr(const Reader& object, Meta meta) {
  ServiceCidr range;
  range.meta = std::move(meta);
  for (const Reader& field : object["spec"]["cidrs"].elements()) {
    if (const auto cidr = field.prefix(true)) range.cidrs.push_back(*cidr);
  }
  return range;
}

EndpointSlice decode_endpoint_slice(const Reader& object, Meta meta) {
  EndpointSlice slice;
  slice.meta = std::move(meta);
  if (const auto name = slice.meta.labels.find(kServiceName); name != slice.meta.labels.end()) {
    slice.service = name->second;
  }
  const Reader type = object["addressType"];
  if (!type.present()) type.refuse("is not given");
  const auto family = type.one_of({"IPv4", "IPv6", "FQDN"}, 0);
  slice.family = family == 1 ? net::Family::v6 : net::Family::v4;
  // Names cannot be sent packets: a slice of them has no endpoints for us.
  if (family == 2) return slice;
  for (const Reader& field : object["endpoints"].elements()) {
    slice.endpoints.push_back(decode_endpoint(field, slice.family, slice.meta.ns));
  }
  std::set<std::string> names;
  for (const Reader& field : object["ports"].elements()) {
    EndpointPort port;
    port.name = field["name"].text();
    if (!port.name.empty() && !is_dns_label(port.name)) {
      field["name"].refuse(field["name"].shown() + " is not a name (a-z, 0-9, '-')");
    }
    if (!names.insert(port.name).second) {
      field["name"].refuse((port.name.empty() ? "the empty name" : field["name"].shown()) +
                           " is given twice");
    }
    port.protocol = field["protocol"].protocol();
    // No number means every port, which no Service port can stand for: kube-proxy leaves it out.
    port.port = static_cast<std::uint16_t>(field["port"].integer(0, 65535, 0));
    if (port.port != 0) slice.ports.push_back(std::move(port));
  }
  return slice;
}

}  // namespace podwire::control::kube
