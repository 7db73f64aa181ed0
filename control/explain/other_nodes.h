// What other nodes have in force: the same compilers, run over the few objects that a question is
// about as if its pods and Services were this node's. A row's answer depends on nothing else but
// the policies that select the pod, its peer and their namespaces. Control thread only.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "control/build/policies.h"
#include "control/build/services.h"
#include "control/explain/ends.h"
#include "control/store_writer.h"

namespace podwire::control::explain {

class OtherNodes {
 public:
  // `most_pods`: with more of them it begins anew.
  OtherNodes(const Store& store, std::size_t most_pods) : store_(store), most_pods_(most_pods) {}

  // From here on policies() judges these pods too, in both directions.
  void add(const std::vector<const End*>& pods);
  [[nodiscard]] const tables::PolicyTable& policies() const { return *policies_; }
  // The Service alone, as the node's table has it.
  const tables::ServiceTable& services(const kube::Service& service, const std::string& node);
  // The store is another now.
  void forget();

 private:
  // Of one run of a compiler over chosen objects.
  struct Chosen {
    Store store;
    StoreWriter writer{store};
  };
  void add_namespace(const std::string& ns);

  const Store& store_;
  const std::size_t most_pods_;
  Chosen chosen_;
  std::unique_ptr<build::PoliciesBuilder> builder_;
  std::vector<Attachment> attachments_;
  std::set<std::string> namespaces_;
  std::unordered_set<const End*> ends_;   // that policies() judges
  std::unordered_set<std::string> pods_;  // whose they are
  std::shared_ptr<const tables::PolicyTable> policies_ =
      std::make_shared<const tables::PolicyTable>();
  std::map<std::pair<std::string, std::string>, std::shared_ptr<const tables::ServiceTable>>
      services_;  // by Service and node
};

}  // namespace podwire::control::explain
