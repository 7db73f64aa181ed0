// What other nodes have in force: the same compilers, run over the few objects that a question is
// about as if its pods and Services were this node's. A row's answer depends on nothing else but
// the policies that select the pod, its peer and their namespaces. Pods that no policy can tell
// apart (namespace, labels, ports, the ipBlocks around their addresses) are one class; two of them
// stand for all. Control thread only.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/build/policies.h"
#include "control/build/services.h"
#include "control/explain/ends.h"
#include "control/store_writer.h"

namespace podwire::control::explain {

class OtherNodes {
 public:
  // `most_pods`: with more that stand for others it begins anew.
  OtherNodes(const Store& store, std::size_t most_pods) : store_(store), most_pods_(most_pods) {}

  // From here on policies() judges these pods too, in both directions.
  void add(const std::vector<const End*>& pods);
  // The addresses to ask policies() about for a flow between these; of pods that were added.
  [[nodiscard]] std::pair<net::Address, net::Address> stand_ins(
      const End& from, const net::Address& source, const End& to,
      const net::Address& to_address) const;
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
  // The first two pods of those that are alike: for both ends of a flow among them.
  struct Class {
    const End* first = nullptr;
    const End* second = nullptr;
  };
  [[nodiscard]] std::string class_of(const End& end) const;
  void index_blocks();
  void add_namespace(const std::string& ns);
  void attach(const End& end);

  const Store& store_;
  const std::size_t most_pods_;
  Chosen chosen_;
  std::unique_ptr<build::PoliciesBuilder> builder_;
  std::vector<Attachment> attachments_;
  std::set<std::string> namespaces_;
  std::unordered_map<std::string, Class> classes_;
  std::unordered_map<const End*, const Class*> class_by_end_;
  std::optional<tables::Lpm<net::Prefix>> blocks_;  // that policies name
  std::shared_ptr<const tables::PolicyTable> policies_ =
      std::make_shared<const tables::PolicyTable>();
  std::map<std::pair<std::string, std::string>, std::shared_ptr<const tables::ServiceTable>>
      services_;  // by Service and node
};

}  // namespace podwire::control::explain
