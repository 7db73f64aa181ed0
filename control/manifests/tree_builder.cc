#include "control/manifests/tree_builder.h"

#include <utility>

namespace podwire::control::manifests {

using nlohmann::json;

int Lines::find(std::string_view path) const {
  while (true) {
    if (const auto found = lines_.find(std::string(path)); found != lines_.end()) {
      return found->second;
    }
    if (path.empty()) return 1;
    const auto cut = path.find_last_of(".[");
    path = cut == std::string_view::npos ? std::string_view{} : path.substr(0, cut);
  }
}

void TreeBuilder::refuse(int line, std::string sentence) {
  if (!problem_) problem_ = SyntaxProblem{line, std::move(sentence)};
}

bool TreeBuilder::expects_key() const {
  return !frames_.empty() && frames_.back().value.is_object() && !frames_.back().key &&
         !frames_.back().merging;
}

std::string TreeBuilder::next_path() const {
  if (frames_.empty()) return {};
  const Frame& frame = frames_.back();
  if (frame.value.is_array()) {
    return frame.path + "[" + std::to_string(frame.value.size()) + "]";
  }
  const std::string key = frame.key.value_or("<<");
  return frame.path.empty() ? key : frame.path + "." + key;
}

void TreeBuilder::open(bool map, int line) {
  if (problem_) return;
  if (frames_.size() == kMaxDepth) {
    return refuse(line, "is nested deeper than " + std::to_string(kMaxDepth) + " levels");
  }
  if (++nodes_ > kMaxNodes) {
    return refuse(line, "holds more than " + std::to_string(kMaxNodes) + " values");
  }
  Frame frame;
  frame.value = map ? json::object() : json::array();
  frame.path = next_path();
  frame.line = line;
  lines_.add(frame.path, line);
  frames_.push_back(std::move(frame));
}

const json& TreeBuilder::close() {
  if (problem_ || frames_.empty()) return closed_;
  Frame frame = std::move(frames_.back());
  frames_.pop_back();
  merge(frame);
  closed_ = frame.value;
  place(std::move(frame.value));
  return closed_;
}

void TreeBuilder::key(std::string text, int line) {
  if (problem_) return;
  Frame& frame = frames_.back();
  if (frame.value.contains(text)) {
    return refuse(line, "gives " + json(text).dump(-1, ' ', false, json::error_handler_t::replace) +
                            " twice in one map");
  }
  frame.key = std::move(text);
}

void TreeBuilder::merge_next(int line) {
  if (problem_) return;
  Frame& frame = frames_.back();
  if (!frame.merged.empty()) return refuse(line, "gives \"<<\" twice in one map");
  frame.merging = true;
}

void TreeBuilder::value(json value, int line, std::size_t nodes, unsigned depth) {
  if (problem_) return;
  nodes_ += nodes;
  if (nodes_ > kMaxNodes) {
    return refuse(line, "holds more than " + std::to_string(kMaxNodes) + " values");
  }
  if (frames_.size() + depth > kMaxDepth) {
    return refuse(line, "is nested deeper than " + std::to_string(kMaxDepth) + " levels");
  }
  lines_.add(next_path(), line);
  place(std::move(value));
}

void TreeBuilder::place(json value) {
  if (frames_.empty()) {
    root_ = std::move(value);
    return;
  }
  Frame& frame = frames_.back();
  if (frame.value.is_array()) {
    frame.value.push_back(std::move(value));
  } else if (frame.merging) {
    frame.merging = false;
    if (value.is_array()) {
      for (json& element : value) frame.merged.push_back(std::move(element));
    } else {
      frame.merged.push_back(std::move(value));
    }
  } else if (frame.key) {
    frame.value[*frame.key] = std::move(value);
    frame.key.reset();
  }
}

void TreeBuilder::merge(Frame& frame) {
  for (const json& other : frame.merged) {
    if (!other.is_object()) return refuse(frame.line, "merges (\"<<\") what is no map");
    for (const auto& [key, value] : other.items()) {
      if (!frame.value.contains(key)) frame.value[key] = value;
    }
  }
}

Document TreeBuilder::take() {
  return {std::move(*root_), std::move(lines_)};
}

}  // namespace podwire::control::manifests
