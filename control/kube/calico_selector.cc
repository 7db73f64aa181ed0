#include "control/kube/calico_selector.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace podwire::control::kube {

struct CalicoSelector::Term {
  enum class Kind : std::uint8_t {
    all,
    any_of,
    all_of,
    negated,
    has,
    in,
    not_in,
    contains,
    starts_with,
    ends_with
  };
  Kind kind = Kind::all;
  std::vector<Term> parts;          // any_of, all_of, negated
  std::string label;                // the others
  std::vector<std::string> values;  // one; any number for in, not_in

  [[nodiscard]] bool matches(const Labels& labels) const;
};

bool CalicoSelector::Term::matches(const Labels& labels) const {
  const auto part_matches = [&](const Term& part) { return part.matches(labels); };
  const auto found = labels.find(label);
  const bool there = found != labels.end();
  const auto is_value = [&](const std::string& value) { return found->second == value; };
  switch (kind) {
    case Kind::all:
      return true;
    case Kind::any_of:
      return std::ranges::any_of(parts, part_matches);
    case Kind::all_of:
      return std::ranges::all_of(parts, part_matches);
    case Kind::negated:
      return !parts.front().matches(labels);
    case Kind::has:
      return there;
    case Kind::in:
      return there && std::ranges::any_of(values, is_value);
    case Kind::not_in:
      return !there || std::ranges::none_of(values, is_value);
    case Kind::contains:
      return there && found->second.find(values.front()) != std::string::npos;
    case Kind::starts_with:
      return there && found->second.starts_with(values.front());
    case Kind::ends_with:
      return there && found->second.ends_with(values.front());
  }
  return false;
}

namespace {

using Term = CalicoSelector::Term;
constexpr unsigned kDeepest = 64;  // of parentheses and negations

bool is_label_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.' || c == '/' || c == '-';
}

// The first thing that is wrong is kept in problem(), and the rest is passed over.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Term whole() {
    Term term = any_of();
    skip_blanks();
    if (at_ < text_.size()) expect("&& or ||");
    return term;
  }
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) {
      ++at_;
    }
  }
  bool take(std::string_view token) {
    skip_blanks();
    if (!text_.substr(at_).starts_with(token)) return false;
    // A word ends where no letter of a label follows.
    const std::size_t end = at_ + token.size();
    if (is_label_character(token.back()) && end < text_.size() && is_label_character(text_[end])) {
      return false;
    }
    at_ = end;
    return true;
  }
  void expect(const std::string& what) {
    if (problem_.empty()) {
      problem_ = "at character " + std::to_string(at_ + 1) + " " + what + " is expected";
    }
    at_ = text_.size();
  }
  void need(std::string_view token) {
    if (!take(token)) expect("'" + std::string(token) + "'");
  }

  Term joined(Term::Kind kind, std::string_view token, Term (Parser::*part)()) {
    Term term;
    term.kind = kind;
    do {
      term.parts.push_back((this->*part)());
    } while (take(token));
    return term.parts.size() == 1 ? Term(std::move(term.parts.front())) : term;
  }
  Term any_of() { return joined(Term::Kind::any_of, "||", &Parser::all_of); }
  Term all_of() { return joined(Term::Kind::all_of, "&&", &Parser::unary); }

  Term unary() {
    if (++depth_ > kDeepest) expect("less nesting");
    Term term;
    if (take("!")) {
      term.kind = Term::Kind::negated;
      term.parts.push_back(unary());
    } else if (take("(")) {
      term = any_of();
      need(")");
    } else {
      term = simple();
    }
    --depth_;
    return term;
  }

  Term simple() {
    Term term;
    const std::string word = label();
    skip_blanks();
    if ((word == "all" || word == "global") && take("(")) {
      need(")");
    } else if (word == "has" && take("(")) {
      term.kind = Term::Kind::has;
      term.label = label();
      need(")");
    } else {
      term.label = word;
      comparison(term);
    }
    return term;
  }

  void comparison(Term& term) {
    using Kind = Term::Kind;
    const auto one = [&](Kind kind) {
      term.kind = kind;
      term.values.push_back(value());
    };
    if (take("==")) return one(Kind::in);
    if (take("!=")) return one(Kind::not_in);
    if (take("contains")) return one(Kind::contains);
    if (take("starts")) {
      need("with");
      return one(Kind::starts_with);
    }
    if (take("ends")) {
      need("with");
      return one(Kind::ends_with);
    }
    const bool negated = take("not");
    if (!take("in")) return expect("a comparison (==, !=, in, not in, contains, starts with)");
    term.kind = negated ? Kind::not_in : Kind::in;
    values(term);
  }

  void values(Term& term) {
    need("{");
    if (take("}")) return;
    do {
      term.values.push_back(value());
    } while (take(","));
    need("}");
  }

  std::string label() {
    skip_blanks();
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_label_character(text_[at_])) ++at_;
    if (at_ == begin) expect("a label");
    return std::string(text_.substr(begin, at_ - begin));
  }

  std::string value() {
    skip_blanks();
    const char quote = at_ < text_.size() ? text_[at_] : ' ';
    const std::size_t end =
        quote == '"' || quote == '\'' ? text_.find(quote, at_ + 1) : std::string_view::npos;
    if (end == std::string_view::npos) {
      expect("a value in quotes");
      return {};
    }
    std::string found(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return found;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  unsigned depth_ = 0;
  std::string problem_;
};

}  // namespace

Result<CalicoSelector> CalicoSelector::parse(std::string_view text) {
  CalicoSelector selector;
  selector.text_ = text;
  if (text.find_first_not_of(" \t\n") == std::string_view::npos) return selector;
  Parser parser(text);
  auto term = std::make_shared<Term>(parser.whole());
  if (!parser.problem().empty()) return fail(parser.problem());
  selector.term_ = std::move(term);
  return selector;
}

bool CalicoSelector::matches(const Labels& labels) const {
  return term_ == nullptr || term_->matches(labels);
}

}  // namespace podwire::control::kube
