// Which rows may have something to say of a pod: rows by what the peers of their rules ask of pods,
// so that a new kind of pod is held against each question once, not against each rule of each row.
// Control thread only.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "control/build/policy_rules.h"

namespace podwire::control::build {

// Rows are known by their address.
template <typename Row>
class PeerIndex {
 public:
  // A peer of a rule of a policy in `ns`. Blocks are not of pods and are left out.
  void add(Row& row, const std::string& ns, const RulePeer& peer) {
    if (peer.block) return;
    ++(peer.namespaces ? elsewhere_[*peer.namespaces] : own_[ns])[peer.pods][&row];
  }
  // As often as it was added.
  void remove(Row& row, const std::string& ns, const RulePeer& peer) {
    if (peer.block) return;
    if (peer.namespaces) {
      take(elsewhere_, *peer.namespaces, peer.pods, &row);
    } else {
      take(own_, ns, peer.pods, &row);
    }
  }

  // f(Row&) of the rows with a peer that matches pods of that namespace with these labels; of a
  // row with several such peers more than once.
  // `selected(selector)` tells whether a selector of namespaces matches the namespace.
  template <typename Selected, typename F>
  void for_each(const std::string& ns, const kube::Labels& labels, Selected&& selected,
                F&& f) const {
    const auto visit = [&](const Questions& questions) {
      for (const auto& [pods, rows] : questions) {
        if (!pods.matches(labels)) continue;
        for (const auto& [row, times] : rows) f(*row);
      }
    };
    if (const auto own = own_.find(ns); own != own_.end()) visit(own->second);
    for (const auto& [selector, questions] : elsewhere_) {
      if (selected(selector)) visit(questions);
    }
  }

 private:
  using Questions = std::map<kube::Selector, std::map<Row*, unsigned>>;  // of pods; times asked

  template <typename Where>
  static void take(std::map<Where, Questions>& all, const Where& where, const kube::Selector& pods,
                   Row* row) {
    const auto questions = all.find(where);
    const auto rows = questions->second.find(pods);
    const auto times = rows->second.find(row);
    if (--times->second != 0) return;
    rows->second.erase(times);
    if (!rows->second.empty()) return;
    questions->second.erase(rows);
    if (questions->second.empty()) all.erase(questions);
  }

  std::map<std::string, Questions> own_;           // of the policy's own namespace
  std::map<kube::Selector, Questions> elsewhere_;  // of namespaces that are selected
};

}  // namespace podwire::control::build
