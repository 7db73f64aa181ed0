#include "control/apiserver/json_stream.h"

#include <array>
#include <utility>

namespace podwire::control::apiserver {
namespace {

enum Class : unsigned char { plain, quote, open, close, other_end };

constexpr std::array<unsigned char, 256> make_classes() {
  std::array<unsigned char, 256> classes{};
  classes['"'] = quote;
  classes['{'] = classes['['] = open;
  classes['}'] = classes[']'] = close;
  for (const char c : {',', ':', ' ', '\t', '\r', '\n'}) {
    classes[static_cast<unsigned char>(c)] = other_end;
  }
  return classes;
}
constexpr auto kClasses = make_classes();

Class class_of(char c) {
  return static_cast<Class>(kClasses[static_cast<unsigned char>(c)]);
}

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

const char* skip_to_quote(const char* at, const char* end) {
  while (at != end && *at != '"' && *at != '\\') ++at;
  return at;
}

const char* skip_plain(const char* at, const char* end) {
  while (at != end && (class_of(*at) == plain || class_of(*at) == other_end)) ++at;
  return at;
}

std::string shown(char c) {
  return c > ' ' && c < 0x7f ? std::string("\"") + c + "\"" : "a byte that is no text";
}

}  // namespace

void ValueCut::begin() {
  text_.clear();
  depth_ = 0;
  in_string_ = escaped_ = scalar_ = begun_ = done_ = too_large_ = false;
}

// Goes on to behind the last byte of the value, or to the end.
const char* ValueCut::scan(const char* at, const char* end) {
  while (at != end) {
    if (escaped_) {
      escaped_ = false;
      ++at;
    } else if (in_string_) {
      at = skip_to_quote(at, end);
      if (at == end) break;
      escaped_ = *at == '\\';
      in_string_ = escaped_;
      ++at;
      if (!in_string_ && depth_ == 0) {
        done_ = true;
        break;
      }
    } else {
      at = skip_plain(at, end);
      if (at == end) break;
      const Class c = class_of(*at++);
      if (c == quote) {
        in_string_ = true;
      } else if (c == open) {
        ++depth_;
      } else if (--depth_ == 0) {
        done_ = true;
        break;
      }
    }
  }
  return at;
}

std::size_t ValueCut::take(std::string_view bytes) {
  if (bytes.empty() || done_) return 0;
  const char* const begin = bytes.data();
  const char* const end = begin + bytes.size();
  const char* at = begin;
  if (!begun_) {
    begun_ = true;
    scalar_ = class_of(*at) == plain;
  }
  if (scalar_) {
    while (at != end && class_of(*at) == plain) ++at;
    done_ = at != end;
  } else {
    at = scan(at, end);
  }
  const auto count = static_cast<std::size_t>(at - begin);
  if (too_large_ || text_.size() + count > most_) {
    too_large_ = true;
    std::string().swap(text_);
  } else {
    text_.append(begin, count);
  }
  return count;
}

JsonStream::JsonStream(Shape shape, Out out, std::size_t max_item)
    : shape_(shape), out_(std::move(out)), cut_(max_item) {}

bool JsonStream::complete() const {
  return problem_.empty() && !cutting_ && (shape_ == Shape::values || state_ == State::end);
}

bool JsonStream::refuse(const char* expected, char c) {
  problem_ = std::string("has ") + shown(c) + " where " + expected + " must stand";
  return false;
}

// The value is cut from the byte that comes next.
void JsonStream::cut(State then) {
  cut_.begin();
  cutting_ = true;
  state_ = then;
}

bool JsonStream::feed(std::string_view bytes) {
  if (!problem_.empty()) return false;
  while (!bytes.empty()) {
    if (!cutting_) {
      if (!is_blank(bytes.front()) && !step(bytes.front())) return false;
      if (!cutting_) bytes.remove_prefix(1);
      continue;
    }
    bytes.remove_prefix(cut_.take(bytes));
    // In a list others follow; where one event is lost, the stream is.
    if (shape_ == Shape::values && cut_.too_large()) {
      out_.oversized();
      return false;
    }
    if (!cut_.done()) continue;
    cutting_ = false;
    if (!taken()) return false;
  }
  return true;
}

// A byte between values; blanks never come here.
bool JsonStream::step(char c) {
  if (shape_ == Shape::values) {
    if (c != '{') return refuse("an object", c);
    cut(State::begin);
    return true;
  }
  switch (state_) {
    case State::begin:
      state_ = State::first_key;
      return c == '{' || refuse("a list object", c);
    case State::first_key:
    case State::key:
    case State::colon:
    case State::value:
    case State::after_value:
      return step_value(c);
    case State::first_item:
    case State::item:
    case State::after_item:
      return step_item(c);
    case State::end:
      break;
  }
  return refuse("the end", c);
}

bool JsonStream::step_value(char c) {
  if (state_ == State::first_key && c == '}') {
    state_ = State::end;
  } else if (state_ == State::first_key || state_ == State::key) {
    if (c != '"') return refuse("a member's name", c);
    cut(State::colon);
  } else if (state_ == State::colon) {
    if (c != ':') return refuse("a colon", c);
    state_ = State::value;
  } else if (state_ == State::value) {
    if (key_ == "items" && c == '[') {
      state_ = State::first_item;
    } else {
      if (class_of(c) == close || class_of(c) == other_end) return refuse("a value", c);
      cut(State::after_value);
    }
  } else {  // after_value
    if (c != ',' && c != '}') return refuse("a comma", c);
    state_ = c == ',' ? State::key : State::end;
  }
  return true;
}

bool JsonStream::step_item(char c) {
  if (state_ == State::after_item) {
    if (c != ',' && c != ']') return refuse("a comma", c);
    state_ = c == ',' ? State::item : State::after_value;
  } else if (state_ == State::first_item && c == ']') {
    state_ = State::after_value;
  } else {
    if (c != '{') return refuse("an object", c);
    cut(State::after_item);
  }
  return true;
}

bool JsonStream::taken() {
  if (shape_ == Shape::values || state_ == State::after_item) {
    return cut_.too_large() ? out_.oversized() : out_.item(cut_.text());
  }
  if (cut_.too_large()) {
    problem_ = "holds a member that is too large";
    return false;
  }
  std::string& text = cut_.text();
  if (state_ == State::colon) {
    key_ = text.substr(1, text.size() - 2);
    return true;
  }
  return out_.member(key_, text);
}

}  // namespace podwire::control::apiserver
