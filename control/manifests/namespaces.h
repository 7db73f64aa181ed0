// The Namespaces that objects are in and no manifest gives, as every cluster has them: with only
// the label kubernetes.io/metadata.name. Control thread only.
#pragma once

#include <set>
#include <string>

#include "control/store_writer.h"

namespace podwire::control::manifests {

class ImpliedNamespaces {
 public:
  // Adds the missing ones and removes those that nothing is in any more.
  void update(StoreWriter& store);

 private:
  std::set<std::string> implied_;
};

}  // namespace podwire::control::manifests
