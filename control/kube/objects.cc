#include "control/kube/objects.h"

#include <algorithm>
#include <array>

namespace podwire::control::kube {
namespace {

constexpr std::array kKindNames{"Node",       "Namespace",        "Pod",
                                "Service",    "EndpointSlice",    "NetworkPolicy",
                                "IPPool",     "ServiceCIDR",      "ClusterNetworkPolicy",
                                "Secret",     "BGPConfiguration", "BGPPeer",
                                "BGPFilter",  "BlockAffinity",    "IPAMBlock",
                                "IPAMConfig", "IPReservation"};
static_assert(kKindNames.size() == std::variant_size_v<Object>);

bool matches_requirement(const Requirement& requirement, const Labels& labels) {
  const auto label = labels.find(requirement.key);
  const bool exists = label != labels.end();
  const auto listed = [&] {
    return exists &&
           std::ranges::find(requirement.values, label->second) != requirement.values.end();
  };
  switch (requirement.op) {
    case Requirement::Operator::in:
      return listed();
    case Requirement::Operator::not_in:
      return !listed();
    case Requirement::Operator::exists:
      return exists;
    case Requirement::Operator::does_not_exist:
      return !exists;
  }
  return false;
}

}  // namespace

bool Selector::matches(const Labels& labels) const {
  const auto has = [&](const auto& wanted) {
    const auto label = labels.find(wanted.first);
    return label != labels.end() && label->second == wanted.second;
  };
  return std::ranges::all_of(match_labels, has) &&
         std::ranges::all_of(match_expressions, [&](const Requirement& requirement) {
           return matches_requirement(requirement, labels);
         });
}

const char* kind_name(Kind kind) {
  return kKindNames[static_cast<std::size_t>(kind)];
}

const Meta& meta(const Object& object) {
  return std::visit([](const auto& o) -> const Meta& { return o.meta; }, object);
}

Meta& meta(Object& object) {
  return std::visit([](auto& o) -> Meta& { return o.meta; }, object);
}

std::string kind_and_name(const Object& object) {
  return std::string(kind_name(kind(object))) + " " + meta(object).full_name();
}

bool concerns_us(const Object& object) {
  const Labels& labels = meta(object).labels;
  switch (kind(object)) {
    case Kind::service:
      return !labels.contains("service.kubernetes.io/service-proxy-name");
    case Kind::endpoint_slice:
      return !labels.contains("service.kubernetes.io/headless");
    default:
      return true;
  }
}

}  // namespace podwire::control::kube
