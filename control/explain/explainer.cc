#include "control/explain/explainer.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace podwire::control::explain {
namespace {

using tables::PolicyExplanation;
using tables::PolicyTier;

constexpr std::size_t kMostEnds = 300'000;  // remembered by name
constexpr std::size_t kMostShown = 100;

const char* tier_name(PolicyTier tier) {
  switch (tier) {
    case PolicyTier::admin:
      return "Admin";
    case PolicyTier::network_policy:
      return "NetworkPolicy";
    case PolicyTier::baseline:
      return "Baseline";
  }
  return "";
}

Side open(const char* by) {
  Side side;
  side.by = by;
  return side;
}

}  // namespace

Explainer::Explainer(const Store& store, const std::string& own_node, std::size_t most_pods)
    : store_(store), ends_(store, own_node), others_(store, most_pods) {}

void Explainer::refresh(const InForce& in_force) {
  if (store_version_ != store_.version || in_force_.version != in_force.version ||
      ends_.size() > kMostEnds) {
    ends_.forget();
    others_.forget();
    local_.clear();
    if (in_force.attachments != nullptr) {
      for (const Attachment& attachment : *in_force.attachments) local_.insert(attachment.pod);
    }
  }
  store_version_ = store_.version;
  in_force_ = in_force;
}

bool Explainer::is_local(const End& end) const {
  return end.kind == End::Kind::pod && in_force_.snapshot != nullptr && local_.contains(end.name) &&
         in_force_.snapshot->policies->pod(end.addresses.front()).has_value();
}

std::string Explainer::answer_lines(std::string_view lines, const InForce& in_force) {
  refresh(in_force);
  std::vector<Task> tasks;
  while (!lines.empty()) {
    const std::size_t end = lines.find('\n');
    tasks.push_back(prepare(lines.substr(0, end)));
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
  }
  std::vector<const End*> pods;
  for (const Task& task : tasks) {
    for (const Target& target : task.targets) {
      if ((target.from->kind != End::Kind::pod || is_local(*target.from)) &&
          (target.end->kind != End::Kind::pod || is_local(*target.end))) {
        continue;
      }
      for (const End* end : {target.from, target.end}) {
        if (end->kind == End::Kind::pod) pods.push_back(end);
      }
    }
  }
  others_.add(pods);
  std::string answers;
  for (Task& task : tasks) {
    if (task.error.empty()) {
      judge(task);
      append_json(task.question, task.answer, answers);
    } else {
      append_error(task.error, answers);
    }
    answers += '\n';
  }
  return answers;
}

void Explainer::prepare_all() {
  refresh({});
  std::vector<const End*> pods;
  for (const auto& [name, pod] : store_.pods) {
    if (pod.finished || pod.host_network) continue;
    if (const auto end = ends_.find(name)) pods.push_back(*end);
  }
  others_.add(pods);
}

void Explainer::judge(Task& task) {
  Answer& answer = task.answer;
  if (task.targets.empty()) return;
  std::size_t counts[3] = {};
  for (const Target& target : task.targets) {
    Path path = judge(target, task.question);
    const Verdict verdict = path.verdict();
    ++counts[static_cast<std::size_t>(verdict)];
    if (answer.paths.size() >= kMostShown && verdict == Verdict::allow) continue;
    const bool leads = !answer.paths.empty() && verdict != Verdict::allow &&
                       answer.paths.front().verdict() == Verdict::allow;
    answer.paths.insert(leads ? answer.paths.begin() : answer.paths.end(), std::move(path));
    if (answer.paths.size() > kMostShown) answer.paths.pop_back();
  }
  answer.paths_judged = task.targets.size();
  const auto all = [&](Verdict verdict) {
    return counts[static_cast<std::size_t>(verdict)] == task.targets.size();
  };
  if (all(Verdict::allow) || all(Verdict::deny)) {
    answer.verdict = answer.paths.front().verdict();
    return;
  }
  if (counts[static_cast<std::size_t>(Verdict::unknown)] != 0) {
    answer.reason = "not every path can be judged";
    if (task.targets.size() == 1) {
      const Path& path = answer.paths.front();
      answer.reason = path.egress.reason.empty() ? path.ingress.reason : path.egress.reason;
    }
    return;
  }
  answer.reason = "it depends on the backend that is chosen: " + std::to_string(counts[0]) +
                  " of " + std::to_string(task.targets.size()) + " paths are allowed";
}

Path Explainer::judge(const Target& target, const Question& question) {
  Path path;
  path.from = target.from->name;
  path.to = target.end->name;
  path.address = target.end->address_is_made_up ? "" : target.destination.to_string();
  path.port = target.port;
  tables::PolicyQuestion asked{target.source, target.destination, net::be16(target.port),
                               question.protocol, false};
  // The node reaches its own pods whatever policy says; so do pods on its network.
  asked.from_own_node = target.from->kind == End::Kind::node && !target.from->node.empty() &&
                        target.from->node == target.end->node;
  for (const bool inward : {false, true}) {
    const End& pod = inward ? *target.end : *target.from;
    const End& peer = inward ? *target.from : *target.end;
    Side& told = inward ? path.ingress : path.egress;
    if (pod.kind != End::Kind::pod) {
      told = open(pod.pod != nullptr ? "host network" : "not a pod");
      continue;
    }
    const bool here = is_local(pod);
    const tables::PolicyTable& table = here ? *in_force_.snapshot->policies : others_.policies();
    tables::PolicyQuestion there = asked;
    if (!here) {
      std::tie(there.source, there.destination) =
          others_.stand_ins(*target.from, target.source, *target.end, target.destination);
    }
    const auto said = table.explain(there);
    told = side(table, inward ? said.ingress : said.egress,
                {pod, peer, inward ? target.source : target.destination, question.protocol,
                 target.port, inward});
  }
  return path;
}

Side Explainer::side(const tables::PolicyTable& table, const PolicyExplanation& said,
                     const Seen& seen) const {
  switch (said.by) {
    case PolicyExplanation::By::loopback:
      return open("loopback");
    case PolicyExplanation::By::no_local_pod:
      return open("not a pod");
    case PolicyExplanation::By::not_isolated:
      return open("not isolated");
    case PolicyExplanation::By::own_node:
      return open("own node");
    case PolicyExplanation::By::row:
      break;
  }
  Side told;
  const tables::PolicyDecision& decision = said.decision;
  if (decision.allowed && !decision.by_rule) return open("not isolated");
  told.verdict = decision.allowed ? Verdict::allow : Verdict::deny;
  told.tier = tier_name(decision.tier);
  const auto& isolating = seen.inward ? seen.pod.ingress : seen.pod.egress;
  if (decision.by_rule) {
    told.by = "policy";
    name_rule(table, decision, seen, told);
  } else {
    told.by = "default";
    told.policy = table.policy_name(said.policy);
    for (const auto* policy : isolating) told.isolated_by.push_back(policy->meta.full_name());
    if (const auto near = nearest(store_, seen); near && !decision.allowed) {
      told.nearest =
          Side::Near{near->policy->meta.full_name(), near->rule,         near->differs.peer,
                     near->differs.protocol,         near->differs.port, sentence(*near, seen)};
    }
  }
  if (seen.peer.address_is_made_up && !decision.allowed &&
      speaks_of_addresses(isolating, seen.inward)) {
    told.verdict = Verdict::unknown;
    told.reason = "Pod " + seen.peer.name + " has no address yet, and a policy names addresses";
  }
  return told;
}

// Rules for the same ports are compiled as one: which of them it was is read from the objects.
void Explainer::name_rule(const tables::PolicyTable& table, const tables::PolicyDecision& decision,
                          const Seen& seen, Side& side) const {
  if (decision.origins.empty()) return;
  const tables::RuleOrigin* chosen = &decision.origins.front();
  if (decision.origins.size() > 1) {
    for (const tables::RuleOrigin& origin : decision.origins) {
      const auto found = store_.network_policies.find(table.policy_name(origin.policy));
      if (found == store_.network_policies.end()) continue;
      const auto& rules = rules_of(found->second, seen.inward);
      if (origin.rule >= rules.size()) continue;  // the object is newer than the table
      if (compare(store_, found->second, rules[origin.rule], seen).count() != 0) continue;
      chosen = &origin;
      break;
    }
  }
  side.policy = table.policy_name(chosen->policy);
  side.rule = chosen->rule;
}

}  // namespace podwire::control::explain
