// JSON as the API server or a manifest gives it -> a checked object, with the API server's defaults
// in place. Fields that podwire does not read are ignored; a wrong value in one that it does read
// refuses the whole object with one sentence. Thread-safe: pure functions.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "control/kube/objects.h"
#include "control/kube/reader.h"
#include "dataplane/result.h"

namespace podwire::control::kube {

struct DecodeError {
  std::optional<Kind> kind;  // with full_name: which object it would have been, when that is known
  std::string full_name;
  std::string object;  // "Service default/web", as far as it can be told
  FieldProblem problem;
  // For a policy: what is to be in force while no right version of it is, since a policy that is
  // left out leaves its pods open. Parts that are not understood fail closed.
  std::shared_ptr<const Object> stand_in;

  // "Service default/web: spec.ports[0].port: 70000 is not between 1 and 65535"
  [[nodiscard]] std::string to_string() const;
};

// Kinds: Node, Namespace, Pod, Service (v1), EndpointSlice (discovery.k8s.io/v1), NetworkPolicy
// and ServiceCIDR (networking.k8s.io/v1), IPPool (projectcalico.org/v3 and
// crd.projectcalico.org/v1), ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2), Secret (v1);
// BGPConfiguration, BGPPeer, BGPFilter, BlockAffinity, IPAMBlock, IPAMConfig and IPReservation of
// IPPool's two groups.
tl::expected<Object, DecodeError> decode_object(const nlohmann::json& json);

// The same with the error as one line.
Result<Object> decode(const nlohmann::json& json);

}  // namespace podwire::control::kube
