// Node, Namespace and Pod. Defaults: k8s.io/kubernetes pkg/apis/core/v1/defaults.go.
#include <algorithm>

#include "control/kube/decoders.h"

namespace podwire::control::kube {
namespace {

using nlohmann::json;

constexpr const char* kNodeAddress4 = "projectcalico.org/IPv4Address";
constexpr const char* kNodeAddress6 = "projectcalico.org/IPv6Address";
constexpr const char* kAsNumber = "projectcalico.org/ASNumber";
constexpr const char* kReflector = "projectcalico.org/RouteReflectorClusterID";
constexpr const char* kPodAddresses = "cni.projectcalico.org/ipAddrs";
constexpr const char* kLeaving = "ToBeDeletedByClusterAutoscaler";
constexpr const char* kZone = "topology.kubernetes.io/zone";
constexpr const char* kNamespaceName = "kubernetes.io/metadata.name";

bool holds_family(const std::vector<net::Address>& all, net::Family family) {
  return std::ranges::any_of(all, [&](const auto& a) { return a.family() == family; });
}

void add_one_per_family(std::vector<net::Address>& all, const Reader& field,
                        const std::optional<net::Address>& address) {
  if (!address) return;
  if (holds_family(all, address->family())) {
    return field.refuse(field.shown() + " is a second address of its family");
  }
  all.push_back(*address);
}

// Calico writes the node's address with the mask of its subnet. kubelet's InternalIP comes first;
// the annotation stands in where it gives none of the family.
void read_calico_address(const Reader& annotations, const char* key, net::Family family,
                         Node& node) {
  const Reader annotation = annotations[key];
  if (!annotation.present()) return;
  const std::string given = annotation.text();
  const auto slash = given.find('/');
  const auto address = net::Address::parse(std::string_view(given).substr(0, slash));
  const auto subnet = net::Prefix::parse(given);
  if (!address || !subnet || address->family() != family) {
    return annotation.refuse(annotation.shown() +
                             " is not an address with its subnet's length, "
                             "such as " +
                             (family == net::Family::v4 ? "10.0.0.2/24" : "fd00::2/64"));
  }
  if (!holds_family(node.internal_ips, family)) node.internal_ips.push_back(*address);
  if (family == net::Family::v4) node.ipv4_subnet = *subnet;
  (family == net::Family::v4 ? node.bgp_v4 : node.bgp_v6) = *address;
}

// What a Calico node has taken out of a pool to speak with pods of other nodes.
void read_tunnel_address(const Reader& annotation, Node& node) {
  if (!annotation.present() || annotation.text().empty()) return;
  const auto address = net::Address::parse(annotation.text());
  if (!address || !address->is_v4()) {
    return annotation.refuse(annotation.shown() + " is not an IPv4 address");
  }
  node.tunnel_v4 = *address;
}

ContainerPort decode_container_port(const Reader& field) {
  ContainerPort port;
  const Reader name = field["name"];
  port.name = name.text();
  if (name.present() && !is_port_name(port.name)) {
    name.refuse(name.shown() + " is not a port's name (at most 15 of a-z 0-9 -, one a letter)");
  }
  const Reader number = field["containerPort"];
  if (!number.present()) number.refuse("is not given");
  port.port = number.port();
  port.protocol = field["protocol"].protocol();
  return port;
}

void decode_containers(const Reader& containers, bool init, Pod& pod) {
  for (const Reader& container : containers.elements()) {
    // An init container keeps running, and its ports count, only as a sidecar.
    if (init && container["restartPolicy"].text() != "Always") continue;
    std::vector<std::string> names;
    for (const Reader& field : container["ports"].elements()) {
      ContainerPort port = decode_container_port(field);
      if (!port.name.empty()) {
        if (std::ranges::find(names, port.name) != names.end()) {
          field["name"].refuse(field["name"].shown() + " is given twice in this container");
        }
        names.push_back(port.name);
      }
      pod.ports.push_back(std::move(port));
    }
  }
}

// The annotation is a JSON list in a string: "[\"10.244.1.5\"]".
void decode_annotated_addresses(const Reader& annotation, Pod& pod) {
  if (!annotation.present()) return;
  const auto list = json::parse(annotation.text(), nullptr, false);
  if (list.is_discarded() || !list.is_array()) {
    return annotation.refuse(annotation.shown() + R"( is not a list such as ["10.244.1.5"])");
  }
  for (const json& element : list) {
    const auto address = element.is_string()
                             ? net::Address::parse(element.get_ref<const std::string&>())
                             : std::nullopt;
    if (!address) return annotation.refuse(annotation.shown() + " holds what is no IP address");
    add_one_per_family(pod.ips, annotation, address);
  }
}

void decode_pod_addresses(const Reader& object, Pod& pod) {
  const Reader status = object["status"];
  for (const Reader& element : status["podIPs"].elements()) {
    add_one_per_family(pod.ips, element["ip"], element["ip"].address());
  }
  if (pod.ips.empty() && status["podIP"].present() && !status["podIP"].text().empty()) {
    add_one_per_family(pod.ips, status["podIP"], status["podIP"].address());
  }
  if (pod.ips.empty() && !pod.host_network) {
    decode_annotated_addresses(object["metadata"]["annotations"][kPodAddresses], pod);
  }
}

// kubelet sets the condition Ready in time; a manifest need not have a status at all.
bool decode_ready(const Reader& status) {
  const std::string phase = status["phase"].text();
  const Reader conditions = status["conditions"];
  for (const Reader& condition : conditions.elements()) {
    if (condition["type"].text() == "Ready") return condition["status"].text() == "True";
  }
  return !conditions.present() && (phase.empty() || phase == "Running");
}

}  // namespace

Node decode_node(const Reader& object, Meta meta) {
  Node node;
  node.meta = std::move(meta);
  const Reader spec = object["spec"];
  std::vector<Reader> cidrs = spec["podCIDRs"].elements();
  if (cidrs.empty() && spec["podCIDR"].present()) cidrs.push_back(spec["podCIDR"]);
  for (const Reader& field : cidrs) {
    const auto cidr = field.prefix();
    if (!cidr) continue;
    const auto same = [&](const net::Prefix& p) { return p.family() == cidr->family(); };
    if (std::ranges::any_of(node.pod_cidrs, same)) {
      field.refuse(field.shown() + " is a second CIDR of its family");
    }
    node.pod_cidrs.push_back(*cidr);
  }
  for (const Reader& element : object["status"]["addresses"].elements()) {
    if (element["type"].text() != "InternalIP") continue;
    if (const auto address = element["address"].address()) node.internal_ips.push_back(*address);
  }
  for (const Reader& taint : spec["taints"].elements()) {
    node.leaving |= taint["key"].text() == kLeaving;
  }
  const Reader annotations = object["metadata"]["annotations"];
  read_calico_address(annotations, kNodeAddress4, net::Family::v4, node);
  read_tunnel_address(annotations[kTunnelAddress], node);
  read_calico_address(annotations, kNodeAddress6, net::Family::v6, node);
  node.as_number = read_as_number(annotations[kAsNumber]);
  if (const Reader id = annotations[kReflector]; !id.text().empty()) {
    node.reflector = id.address();
    if (node.reflector && !node.reflector->is_v4()) {
      id.refuse(id.shown() + " is not a cluster ID such as 244.0.0.1");
    }
  }
  if (const auto zone = node.meta.labels.find(kZone); zone != node.meta.labels.end()) {
    node.zone = zone->second;
  }
  return node;
}

Namespace decode_namespace(const Reader& /*object*/, Meta meta) {
  // The API server sets it on every Namespace and nobody can change it.
  meta.labels[kNamespaceName] = meta.name;
  return Namespace{.meta = std::move(meta)};
}

Pod decode_pod(const Reader& object, Meta meta) {
  Pod pod;
  pod.meta = std::move(meta);
  const Reader spec = object["spec"];
  pod.node_name = spec["nodeName"].text();
  pod.host_network = spec["hostNetwork"].boolean(false);
  decode_containers(spec["containers"], false, pod);
  decode_containers(spec["initContainers"], true, pod);
  decode_pod_addresses(object, pod);
  const Reader status = object["status"];
  // The API server gives "" to a Pod that no kubelet has seen.
  const Reader given = status["phase"];
  const auto phase =
      given.text().empty()
          ? 1
          : given.one_of({"Pending", "Running", "Succeeded", "Failed", "Unknown"}, 1);
  pod.finished = phase == 2 || phase == 3;
  pod.ready = decode_ready(status);
  return pod;
}

}  // namespace podwire::control::kube
