// What every object has. Source: k8s.io/apimachinery/pkg/apis/meta/v1 ObjectMeta.
#pragma once

#include <map>
#include <string>

namespace podwire::control::kube {

using Labels = std::map<std::string, std::string>;

struct Meta {
  std::string ns;  // empty for cluster-scoped kinds
  std::string name;
  std::string uid;
  Labels labels;
  Labels annotations;
  bool deleting = false;  // metadata.deletionTimestamp is set
  std::string origin;     // "pods.yaml:12" or "api"; for messages

  [[nodiscard]] std::string full_name() const { return ns.empty() ? name : ns + "/" + name; }
  // The place an object was read from is no part of what it says.
  bool operator==(const Meta& other) const {
    return ns == other.ns && name == other.name && uid == other.uid && labels == other.labels &&
           annotations == other.annotations && deleting == other.deleting;
  }
};

}  // namespace podwire::control::kube
