// Calico's expressions over labels: has(role) && zone in {"a", 'b'} || !all(). Source:
// projectcalico/calico libcalico-go/lib/selector/parser. An expression is a value: copying one is
// cheap. Thread-safe once parsed.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "control/kube/meta.h"
#include "dataplane/result.h"

namespace podwire::control::kube {

// a == "b", !=, in {...}, not in {...}, contains, starts with, ends with, has(a), all(), global(),
// !, &&, ||, parentheses. != and `not in` hold for an absent label too.
class CalicoSelector {
 public:
  struct Term;  // of the parsed expression; private to the .cc

  // Matches everything, as an empty expression does.
  CalicoSelector() = default;
  // The error says what is wrong and where: `at character 7 a label is expected`.
  static Result<CalicoSelector> parse(std::string_view text);

  [[nodiscard]] bool matches(const Labels& labels) const;
  [[nodiscard]] const std::string& text() const { return text_; }
  bool operator==(const CalicoSelector& other) const { return text_ == other.text_; }

 private:
  std::string text_;
  std::shared_ptr<const Term> term_;  // null: everything
};

}  // namespace podwire::control::kube
