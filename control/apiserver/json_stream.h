// Cuts the answers of the API server into objects while they arrive, so that one object is in
// memory and not a list of them. Only the structure is looked at here; whether an object is good
// JSON is for its parser to say. Control thread only.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace podwire::control::apiserver {

// One value's text, gathered from pieces.
class ValueCut {
 public:
  explicit ValueCut(std::size_t most) : most_(most) {}
  // The value's first byte comes next.
  void begin();
  // Takes bytes as far as the value goes; says how many. A number, true, false and null end at a
  // byte that is not theirs.
  std::size_t take(std::string_view bytes);
  [[nodiscard]] bool done() const { return done_; }
  // More bytes than are kept: the rest is passed over.
  [[nodiscard]] bool too_large() const { return too_large_; }
  [[nodiscard]] std::string& text() { return text_; }

 private:
  const char* scan(const char* at, const char* end);

  std::size_t most_;
  std::string text_;
  std::size_t depth_ = 0;
  bool in_string_ = false, escaped_ = false, scalar_ = false;
  bool begun_ = false, done_ = false, too_large_ = false;
};

class JsonStream {
 public:
  // `values`: objects one after another, as a watch sends them. `list`: one object with a list
  // `items` of objects among its members.
  enum class Shape : unsigned char { values, list };
  // What the receivers answer: whether to go on.
  struct Out {
    std::function<bool(std::string& text)> item;
    // Another member of the list's object, e.g. "metadata".
    std::function<bool(const std::string& key, std::string& text)> member;
    // An item of more than kMaxItem bytes was passed over. In a watch it ends the stream.
    std::function<bool()> oversized;
  };
  // etcd takes no object above 1.5 MiB; as JSON it may be somewhat larger.
  static constexpr std::size_t kMaxItem = std::size_t{16} << 20;

  JsonStream(Shape shape, Out out, std::size_t max_item = kMaxItem);

  // False: it is broken (problem() says how) or a receiver has had enough.
  bool feed(std::string_view bytes);
  // Nothing is missing: the list has ended, or no value is begun.
  [[nodiscard]] bool complete() const;
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  enum class State : unsigned char {
    begin,
    first_key,
    key,
    colon,
    value,
    after_value,
    first_item,
    item,
    after_item,
    end
  };
  bool step(char c);
  bool step_value(char c);
  bool step_item(char c);
  void cut(State then);
  bool taken();
  bool refuse(const char* expected, char c);

  Shape shape_;
  Out out_;
  ValueCut cut_;
  State state_ = State::begin;
  bool cutting_ = false;
  std::string key_;
  std::string problem_;
};

// Leaves out, in place, members of a Kubernetes object that podwire never reads and that are most
// of its size: managed fields, containers' environments, statuses. False: it is nested too deep.
bool prune(std::string& object);

}  // namespace podwire::control::apiserver
