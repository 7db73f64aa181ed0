// Answers questions: this node's ends by the tables in force, the others' by the same compilers run
// for them (other_nodes.h). Policy is asked after the Service's translation and before
// masquerading, as on the packet path. Control thread only.
//
//   lines ── parse ── ends by name ── backends of Services ──► paths ── PolicyTable::explain ──►
//   JSON
//                                                                   └── rules.h names the rule
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "control/explain/answer.h"
#include "control/explain/ends.h"
#include "control/explain/other_nodes.h"
#include "control/explain/rules.h"
#include "dataplane/tables/snapshot.h"

namespace podwire::control::explain {

// What a podwired has in force.
struct InForce {
  const tables::Snapshot* snapshot = nullptr;
  const std::vector<Attachment>* attachments = nullptr;
  std::uint64_t version = 0;  // moves with every publish
};

class Explainer {
 public:
  // `own_node` is empty where no podwired runs; then no table is in force.
  Explainer(const Store& store, const std::string& own_node, std::size_t most_pods);

  // A question a line, an answer a line, in order; a line that is none gets {"error":...}. What was
  // learned before is forgotten when the store or what is in force has changed.
  std::string answer_lines(std::string_view lines, const InForce& in_force = {});

  // Every pod of the store at once, which is quicker than a few with each chunk of a long batch.
  void prepare_all();

  // So many lines at once keep the control thread busy for milliseconds only.
  static constexpr std::size_t kMostBytes = 32 * 1024;

 private:
  struct Target {  // after the Service's translation
    const End* end;
    net::Address source, destination;
    std::uint16_t port;
    const End* from;
  };
  struct Task {
    Question question;
    std::string error;
    Answer answer;
    std::vector<Target> targets;
  };
  void refresh(const InForce& in_force);
  Task prepare(std::string_view line);
  void find_targets(const End& from, const net::Address& source, const End& to, Task& task);
  void find_backends(const End& from, const net::Address& source, const kube::Service& service,
                     Task& task);
  void follow_frontend(const End& from, const net::Address& source, const kube::Service& service,
                       const net::Address& address, const kube::ServicePort& port, Task& task);
  bool find_frontend(const End& from, const net::Address& source, const net::Address& address,
                     Task& task);
  void add_target(const End& from, const net::Address& source, const End& to,
                  const net::Address& destination, std::uint16_t port, Task& task);
  std::vector<std::pair<const End*, net::Address>> members(const kube::Service& service);
  std::vector<std::pair<const End*, net::Address>> sources_of(const End& from, const End& to);
  void judge(Task& task);
  Path judge(const Target& target, const Question& question);
  Side side(const tables::PolicyTable& table, const tables::PolicyExplanation& said,
            const Seen& seen) const;
  void name_rule(const tables::PolicyTable& table, const tables::PolicyDecision& decision,
                 const Seen& seen, Side& side) const;
  [[nodiscard]] bool is_local(const End& end) const;

  const Store& store_;
  Ends ends_;
  OtherNodes others_;
  InForce in_force_;
  std::uint64_t store_version_ = 0;
  std::unordered_set<std::string> local_;  // pods attached to this node
};

}  // namespace podwire::control::explain
