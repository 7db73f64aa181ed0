// Puts one document together from a parser's events, whichever parser it is. Private to
// control/manifests.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/manifests/document.h"

namespace podwire::control::manifests {

// Events come in document order. The first problem is kept; the parser is to stop then.
class TreeBuilder {
 public:
  void open(bool map, int line);
  // The map or list that ended, before it went into its parent; it stays valid until the next call.
  const nlohmann::json& close();
  void key(std::string text, int line);
  // A scalar, or (from an alias) a whole value of `nodes` values and `depth`.
  void value(nlohmann::json value, int line, std::size_t nodes = 1, unsigned depth = 0);
  // The value that follows is merged into the map that is open (YAML's "<<"), without replacing
  // keys that it has or gets. A list of maps is merged in its order.
  void merge_next(int line);

  void refuse(int line, std::string sentence);
  [[nodiscard]] const std::optional<SyntaxProblem>& problem() const { return problem_; }
  [[nodiscard]] bool expects_key() const;
  [[nodiscard]] bool finished() const { return root_.has_value(); }
  Document take();

 private:
  struct Frame {
    nlohmann::json value;
    std::string path;
    std::optional<std::string> key;
    bool merging = false;
    std::vector<nlohmann::json> merged;
    int line = 1;
  };
  [[nodiscard]] std::string next_path() const;
  void place(nlohmann::json value);
  void merge(Frame& frame);

  std::vector<Frame> frames_;
  std::optional<nlohmann::json> root_;
  nlohmann::json closed_;
  Lines lines_;
  std::size_t nodes_ = 0;
  std::optional<SyntaxProblem> problem_;
};

}  // namespace podwire::control::manifests
