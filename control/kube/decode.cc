#include "control/kube/decode.h"

#include <algorithm>
#include <array>

#include "control/kube/decoders.h"

namespace podwire::control::kube {
namespace {

using nlohmann::json;

struct KnownKind {
  Kind kind;
  bool namespaced;
  bool label_name;  // its name is a DNS label, not a subdomain
  std::array<std::string_view, 2> versions;
};

constexpr std::array<std::string_view, 2> kCalico{"projectcalico.org/v3",
                                                  "crd.projectcalico.org/v1"};
constexpr std::array kKnownKinds{
    KnownKind{Kind::node, false, false, {"v1"}},
    KnownKind{Kind::name_space, false, true, {"v1"}},
    KnownKind{Kind::pod, true, false, {"v1"}},
    KnownKind{Kind::service, true, true, {"v1"}},
    KnownKind{Kind::endpoint_slice, true, false, {"discovery.k8s.io/v1"}},
    KnownKind{Kind::network_policy, true, false, {"networking.k8s.io/v1"}},
    KnownKind{Kind::ip_pool, false, false, kCalico},
    KnownKind{Kind::service_cidr, false, false, {"networking.k8s.io/v1"}},
    KnownKind{Kind::cluster_network_policy, false, false, {"policy.networking.k8s.io/v1alpha2"}},
    KnownKind{Kind::secret, true, false, {"v1"}},
    KnownKind{Kind::bgp_configuration, false, false, kCalico},
    KnownKind{Kind::bgp_peer, false, false, kCalico},
    KnownKind{Kind::bgp_filter, false, false, kCalico},
    KnownKind{Kind::block_affinity, false, false, kCalico},
    KnownKind{Kind::ipam_block, false, false, kCalico},
    KnownKind{Kind::ipam_config, false, false, kCalico},
    KnownKind{Kind::ip_reservation, false, false, kCalico},
};

const KnownKind* find_kind(std::string_view name) {
  const auto* const found = std::ranges::find_if(
      kKnownKinds, [&](const KnownKind& known) { return kind_name(known.kind) == name; });
  return found == kKnownKinds.end() ? nullptr : found;
}

void check_kind(const Reader& object, const KnownKind* known) {
  const Reader version = object["apiVersion"];
  const Reader kind = object["kind"];
  if (!kind.present()) return kind.refuse("is not given");
  if (known == nullptr) {
    return kind.refuse(kind.shown() +
                       " is not a kind podwire reads (Node, Namespace, Pod, Service, "
                       "EndpointSlice, NetworkPolicy, IPPool, ServiceCIDR, ClusterNetworkPolicy, "
                       "Secret, BGPConfiguration, BGPPeer, BGPFilter, BlockAffinity, IPAMBlock, "
                       "IPAMConfig, IPReservation)");
  }
  if (!version.present()) return version.refuse("is not given");
  const auto given = version.text();
  const auto wanted = [&](std::string_view v) { return !v.empty() && v == given; };
  if (std::ranges::any_of(known->versions, wanted)) return;
  std::string listed(known->versions[0]);
  if (!known->versions[1].empty()) listed.append(" or ").append(known->versions[1]);
  version.refuse(version.shown() + " is not " + listed + ", the version of " +
                 kind_name(known->kind) + " that podwire reads");
}

void decode_labels(const Reader& metadata, Meta& meta) {
  meta.labels = metadata["labels"].text_map();
  for (const auto& [key, value] : meta.labels) {
    const Reader label = metadata["labels"][key];
    if (!is_label_key(key)) return label.refuse("the key is not a label's name");
    if (!is_label_value(value)) {
      return label.refuse(label.shown() +
                          " is not a label's value (at most 63 letters, digits, '-', '_', '.')");
    }
  }
  meta.annotations = metadata["annotations"].text_map();
}

Meta decode_meta(const Reader& object, const KnownKind* known) {
  const Reader metadata = object["metadata"];
  Meta meta;
  const Reader name = metadata["name"];
  const Reader ns = metadata["namespace"];
  meta.name = name.text();
  meta.ns = ns.text();
  if (meta.name.empty()) name.refuse("is not given");
  if (known != nullptr) {
    if (known->label_name ? !is_dns_label(meta.name) : !is_dns_subdomain(meta.name)) {
      name.refuse(name.shown() + " is not a name (a-z, 0-9, '-'" +
                  (known->label_name ? ", at most 63)" : ", '.', at most 253)"));
    }
    if (known->namespaced && meta.ns.empty()) meta.ns = "default";
    if (!known->namespaced && !meta.ns.empty()) {
      ns.refuse(std::string("is given, but a ") + kind_name(known->kind) + " has no namespace");
      meta.ns.clear();
    }
    if (!meta.ns.empty() && !is_dns_label(meta.ns)) {
      ns.refuse(ns.shown() + " is not a name (a-z, 0-9, '-', at most 63)");
    }
  }
  meta.uid = metadata["uid"].text();
  meta.deleting = metadata["deletionTimestamp"].present();
  decode_labels(metadata, meta);
  return meta;
}

Object decode_kind(const Reader& object, Kind kind, Meta meta) {
  switch (kind) {
    case Kind::node:
      return decode_node(object, std::move(meta));
    case Kind::name_space:
      return decode_namespace(object, std::move(meta));
    case Kind::pod:
      return decode_pod(object, std::move(meta));
    case Kind::service:
      return decode_service(object, std::move(meta));
    case Kind::endpoint_slice:
      return decode_endpoint_slice(object, std::move(meta));
    case Kind::network_policy:
      return decode_network_policy(object, std::move(meta));
    case Kind::ip_pool:
      return decode_ip_pool(object, std::move(meta));
    case Kind::service_cidr:
      return decode_service_cidr(object, std::move(meta));
    case Kind::secret:
      return decode_secret(object, std::move(meta));
    case Kind::bgp_configuration:
      return decode_bgp_configuration(object, std::move(meta));
    case Kind::bgp_peer:
      return decode_bgp_peer(object, std::move(meta));
    case Kind::bgp_filter:
      return decode_bgp_filter(object, std::move(meta));
    case Kind::block_affinity:
      return decode_block_affinity(object, std::move(meta));
    case Kind::ipam_block:
      return decode_ipam_block(object, std::move(meta));
    case Kind::ipam_config:
      return decode_ipam_config(object, std::move(meta));
    case Kind::ip_reservation:
      return decode_ip_reservation(object, std::move(meta));
    case Kind::cluster_network_policy:
      break;
  }
  return decode_cluster_network_policy(object, std::move(meta));
}

// Strings are taken as they stand here: this is only to say which object is wrong.
std::string text_of(const json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto member = object.find(key);
  return member != object.end() && member->is_string() ? member->get<std::string>() : "";
}

DecodeError error_of(const json& object, const KnownKind* known, FieldProblem problem) {
  DecodeError error;
  error.problem = std::move(problem);
  error.object = text_of(object, "kind");
  if (error.object.empty()) error.object = "object";
  if (!object.is_object() || !object.contains("metadata")) return error;
  const json& metadata = object.at("metadata");
  Meta named;
  named.name = text_of(metadata, "name");
  named.ns = text_of(metadata, "namespace");
  if (named.name.empty()) return error;
  if (known != nullptr) {
    if (!known->namespaced) named.ns.clear();
    if (known->namespaced && named.ns.empty()) named.ns = "default";
    error.kind = known->kind;
    error.full_name = named.full_name();
  }
  error.object += " " + named.full_name();
  return error;
}

// What stands in for a policy that is wrong where no version of it is in force: its pods are to be
// no more open than it says. Null: the object is no policy, or cannot be told apart.
std::shared_ptr<const Object> stand_in_of(const Reader& object, const DecodeError& error,
                                          Meta meta) {
  if (error.kind != Kind::network_policy && error.kind != Kind::cluster_network_policy) return {};
  if (error.full_name.empty()) return {};
  auto decoded = std::make_shared<Object>(decode_kind(object, *error.kind, std::move(meta)));
  const std::string doubt = error.problem.field + ": " + error.problem.sentence;
  std::visit(
      [&]<typename T>(T& policy) {
        if constexpr (std::is_same_v<T, NetworkPolicy> || std::is_same_v<T, ClusterNetworkPolicy>) {
          if (std::ranges::find(policy.doubts, doubt) == policy.doubts.end()) {
            policy.doubts.insert(policy.doubts.begin(), doubt);
          }
        }
      },
      *decoded);
  return decoded;
}

}  // namespace

std::string DecodeError::to_string() const {
  return object + ": " + (problem.field.empty() ? "" : problem.field + ": ") + problem.sentence;
}

tl::expected<Object, DecodeError> decode_object(const json& object) {
  std::optional<FieldProblem> problem;
  if (!object.is_object()) {
    return tl::unexpected(error_of(object, nullptr, {"", "is not a set of fields"}));
  }
  const Reader reader(object, problem);
  const KnownKind* const known = find_kind(text_of(object, "kind"));
  check_kind(reader, known);
  Meta meta = decode_meta(reader, known);
  if (!problem) {
    Object decoded = decode_kind(reader, known->kind, meta);
    if (!problem) return decoded;
  }
  DecodeError error = error_of(object, known, std::move(*problem));
  error.stand_in = stand_in_of(reader, error, std::move(meta));
  return tl::unexpected(std::move(error));
}

Result<Object> decode(const json& object) {
  auto decoded = decode_object(object);
  if (!decoded) return fail(decoded.error().to_string());
  return std::move(*decoded);
}

}  // namespace podwire::control::kube
