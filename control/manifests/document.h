// Text of a manifest -> JSON values that know their lines. YAML 1.2 core schema (yaml.org/spec
// 1.2.2 chapter 10.3) with merge keys, or JSON (RFC 8259); many documents to a file. Depth, size
// and what aliases expand to are bounded. Thread-safe: pure functions.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace podwire::control::manifests {

// Where each value of a document begins; lines count from 1.
class Lines {
 public:
  void add(std::string path, int line) { lines_.emplace(std::move(path), line); }
  // Of the value at a path as kube::Reader writes it ("spec.ports[0].port"), or of the nearest
  // value around it.
  [[nodiscard]] int find(std::string_view path) const;

 private:
  std::unordered_map<std::string, int> lines_;
};

struct Document {
  nlohmann::json value;
  Lines lines;
};

struct SyntaxProblem {
  int line = 1;
  std::string sentence;
};

struct ParsedText {
  std::vector<Document> documents;  // empty ones are left out
  // A YAML document that is broken leaves the others of its file readable.
  std::vector<SyntaxProblem> problems;
};

inline constexpr std::size_t kMaxText = std::size_t{64} << 20;  // bytes of a file
inline constexpr unsigned kMaxDepth = 64;                       // of maps and lists in each other
inline constexpr std::size_t kMaxNodes = 8'000'000;             // values in a document
inline constexpr std::size_t kMaxAliasNodes = 1'000'000;        // of these, by way of aliases

ParsedText parse_yaml(std::string_view text);
ParsedText parse_json(std::string_view text);

}  // namespace podwire::control::manifests
