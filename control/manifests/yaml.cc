// YAML by yaml-cpp's event parser, one document at a time. A file is cut at its "---" lines first
// (YAML 1.2.2 section 9.1.2: nothing inside a document may begin so), that a broken document does
// not take the rest of its file with it.
#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <istream>
#include <map>
#include <optional>
#include <streambuf>

#include "control/manifests/document.h"
#include "control/manifests/tree_builder.h"

namespace podwire::control::manifests {
namespace {

using nlohmann::json;

bool all_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<json> parse_integer(std::string_view text, int base) {
  std::uint64_t positive = 0;
  const char* const end = text.data() + text.size();
  if (!text.empty() && text[0] != '-') {
    const auto [stop, error] = std::from_chars(text.data(), end, positive, base);
    if (error == std::errc{} && stop == end) return json(positive);
    return std::nullopt;
  }
  std::int64_t negative = 0;
  const auto [stop, error] = std::from_chars(text.data(), end, negative, base);
  if (error == std::errc{} && stop == end) return json(negative);
  return std::nullopt;
}

std::optional<json> parse_number(std::string_view text) {
  const std::string_view digits =
      !text.empty() && (text[0] == '-' || text[0] == '+') ? text.substr(1) : text;
  if (digits.empty() || (digits[0] < '0' || digits[0] > '9')) {
    if (digits.size() < 2 || digits[0] != '.' || !all_digits(digits.substr(1, 1))) {
      return std::nullopt;
    }
  }
  if (digits.starts_with("0x")) return parse_integer(digits.substr(2), 16);
  if (digits.starts_with("0o")) return parse_integer(digits.substr(2), 8);
  if (all_digits(digits)) {
    // "010" is eight to YAML 1.1 and ten to YAML 1.2: left a string, it is refused where a number
    // must stand.
    if (digits.size() > 1 && digits[0] == '0') return std::nullopt;
    return parse_integer(text[0] == '+' ? digits : text, 10);
  }
  double real = 0;
  const char* const end = text.data() + text.size();
  const char* const begin = text[0] == '+' ? text.data() + 1 : text.data();
  const auto [stop, error] = std::from_chars(begin, end, real);
  if (error == std::errc{} && stop == end && std::isfinite(real)) return json(real);
  return std::nullopt;
}

// A plain scalar by the core schema; "yes", "no", "on" and "off" are strings there.
json resolve_plain(const std::string& text) {
  static const std::map<std::string, json, std::less<>> words{
      {"", nullptr},     {"~", nullptr},   {"null", nullptr}, {"Null", nullptr},
      {"NULL", nullptr}, {"true", true},   {"True", true},    {"TRUE", true},
      {"false", false},  {"False", false}, {"FALSE", false}};
  if (const auto word = words.find(text); word != words.end()) return word->second;
  if (auto number = parse_number(text)) return std::move(*number);
  return text;
}

std::size_t count_nodes(const json& value) {
  std::size_t nodes = 1;
  if (value.is_structured()) {
    for (const json& element : value) nodes += count_nodes(element);
  }
  return nodes;
}

unsigned measure_depth(const json& value) {
  unsigned depth = 0;
  if (!value.is_structured()) return depth;
  for (const json& element : value) depth = std::max(depth, measure_depth(element));
  return depth + 1;
}

// Thrown through yaml-cpp to end its parsing at our own problem.
struct Stop {};

class YamlEvents final : public YAML::EventHandler {
 public:
  YamlEvents(ParsedText& out, int first_line) : out_(out), first_line_(first_line) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    builder_ = TreeBuilder();
    // yaml-cpp 0.7 finds empty documents without end before what no document can begin with.
    if (mark.pos == last_start_) {
      builder_.refuse(line(mark), "is not YAML: no document can begin here");
      throw Stop{};
    }
    last_start_ = mark.pos;
    anchored_.clear();
    open_anchors_.clear();
    alias_nodes_ = 0;
  }
  void OnDocumentEnd() override {
    if (!builder_.finished()) return;
    Document document = builder_.take();
    if (!document.value.is_null()) out_.documents.push_back(std::move(document));
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    put(nullptr, mark, anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchored_.find(anchor);
    if (found == anchored_.end()) {
      builder_.refuse(line(mark), "has an alias (\"*\") inside the value it stands for");
      throw Stop{};
    }
    const Anchored& target = found->second;
    alias_nodes_ += target.nodes;
    if (alias_nodes_ > kMaxAliasNodes) {
      builder_.refuse(line(mark), "has aliases (\"*\") that stand for more than " +
                                      std::to_string(kMaxAliasNodes) + " values");
      throw Stop{};
    }
    if (builder_.expects_key()) {
      if (!target.value.is_string()) refuse_key(mark);
      builder_.key(target.value.get<std::string>(), line(mark));
    } else {
      builder_.value(target.value, line(mark), target.nodes, target.depth);
    }
    stop_at_problem();
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    if (builder_.expects_key()) {
      if (tag == "?" && text == "<<") {
        builder_.merge_next(line(mark));
      } else {
        builder_.key(text, line(mark));
        if (anchor != 0) anchored_[anchor] = {text, 1, 0};
      }
      return stop_at_problem();
    }
    const bool resolved = tag == "?" || tag.empty() || tag == "tag:yaml.org,2002:int" ||
                          tag == "tag:yaml.org,2002:bool" || tag == "tag:yaml.org,2002:null" ||
                          tag == "tag:yaml.org,2002:float";
    put(resolved ? resolve_plain(text) : json(text), mark, anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    open(false, mark, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    open(true, mark, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

  [[nodiscard]] const std::optional<SyntaxProblem>& problem() const { return builder_.problem(); }
  [[nodiscard]] int line(const YAML::Mark& mark) const {
    return first_line_ + std::max(mark.line, 0);
  }

 private:
  struct Anchored {
    json value;
    std::size_t nodes = 1;
    unsigned depth = 0;
  };

  void stop_at_problem() const {
    if (builder_.problem()) throw Stop{};
  }
  void refuse_key(const YAML::Mark& mark) {
    builder_.refuse(line(mark), "has a map's key that is no text");
    throw Stop{};
  }
  void put(json value, const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (builder_.expects_key()) refuse_key(mark);
    if (anchor != 0) anchored_[anchor] = {value, 1, 0};
    builder_.value(std::move(value), line(mark));
    stop_at_problem();
  }
  void open(bool map, const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (builder_.expects_key()) refuse_key(mark);
    builder_.open(map, line(mark));
    stop_at_problem();
    open_anchors_.push_back(anchor);
  }
  void close() {
    const json& value = builder_.close();
    stop_at_problem();
    const YAML::anchor_t anchor = open_anchors_.back();
    open_anchors_.pop_back();
    if (anchor != 0) anchored_[anchor] = {value, count_nodes(value), measure_depth(value)};
  }

  ParsedText& out_;
  int first_line_;
  TreeBuilder builder_;
  std::map<YAML::anchor_t, Anchored> anchored_;
  std::vector<YAML::anchor_t> open_anchors_;
  std::size_t alias_nodes_ = 0;
  int last_start_ = -1;
};

// Reads the text where it stands: std::istringstream would copy it.
class TextBuffer final : public std::streambuf {
 public:
  explicit TextBuffer(std::string_view text) {
    char* const begin = const_cast<char*>(text.data());  // never written: there is no overflow()
    setg(begin, begin, begin + text.size());
  }
};

void parse_chunk(std::string_view text, int first_line, ParsedText& out) {
  YamlEvents events(out, first_line);
  TextBuffer buffer(text);
  std::istream stream(&buffer);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(events)) {
    }
  } catch (const Stop&) {
    out.problems.push_back(*events.problem());
  } catch (const YAML::Exception& e) {
    out.problems.push_back({events.line(e.mark), "is not YAML: " + e.msg});
  } catch (const std::exception& e) {
    out.problems.push_back({first_line, std::string("is not YAML: ") + e.what()});
  }
}

// Nothing but blank lines, comments and directives: no document.
bool holds_content(std::string_view text) {
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto row = text.substr(0, end);
    const auto first = row.find_first_not_of(" \t\r");
    if (first != std::string_view::npos && row[first] != '#' && row[0] != '%') return true;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return false;
}

bool begins_document(std::string_view row) {
  return row.starts_with("---") &&
         (row.size() == 3 || row[3] == ' ' || row[3] == '\t' || row[3] == '\r');
}

}  // namespace

ParsedText parse_yaml(std::string_view text) {
  ParsedText out;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  std::size_t chunk = 0, at = 0;
  int chunk_line = 1, line = 1;
  const auto finish = [&] {
    const auto part = text.substr(chunk, at - chunk);
    if (holds_content(part)) parse_chunk(part, chunk_line, out);
    chunk = at;
    chunk_line = line;
  };
  while (at < text.size()) {
    const auto end = std::min(text.find('\n', at), text.size());
    if (begins_document(text.substr(at, end - at))) finish();
    at = std::min(end + 1, text.size());
    ++line;
  }
  finish();
  return out;
}

}  // namespace podwire::control::manifests
