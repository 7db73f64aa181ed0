// JSON by nlohmann's event parser. Several documents may follow each other, as kubectl and jq print
// them.
#include "control/manifests/document.h"
#include "control/manifests/tree_builder.h"

namespace podwire::control::manifests {
namespace {

using nlohmann::json;

// How far the parser has read. It looks one character past a number, hence the line of the last
// character that is no white space.
struct Cursor {
  const char* at;
  const char* end;
  int line = 1;
  int last_line = 1;
};

class Characters {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Characters() = default;
  explicit Characters(Cursor& cursor) : cursor_(&cursor) {}
  reference operator*() const { return *cursor_->at; }
  Characters& operator++() {
    const char c = *cursor_->at++;
    if (c == '\n') {
      ++cursor_->line;
    } else if (c != ' ' && c != '\t' && c != '\r') {
      cursor_->last_line = cursor_->line;
    }
    return *this;
  }
  bool operator==(const Characters& other) const { return at_end() == other.at_end(); }
  bool operator!=(const Characters& other) const { return !(*this == other); }

 private:
  [[nodiscard]] bool at_end() const { return cursor_ == nullptr || cursor_->at == cursor_->end; }
  Cursor* cursor_ = nullptr;
};

class JsonEvents {
 public:
  using number_integer_t = json::number_integer_t;
  using number_unsigned_t = json::number_unsigned_t;
  using number_float_t = json::number_float_t;
  using string_t = json::string_t;
  using binary_t = json::binary_t;

  explicit JsonEvents(const Cursor& cursor) : cursor_(cursor) {}

  bool null() { return put(nullptr); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(number_integer_t value) { return put(value); }
  bool number_unsigned(number_unsigned_t value) { return put(value); }
  bool number_float(number_float_t value, const string_t& /*text*/) { return put(value); }
  bool string(string_t& value) { return put(std::move(value)); }
  bool binary(binary_t& /*value*/) { return false; }
  bool key(string_t& value) {
    builder_.key(std::move(value), cursor_.last_line);
    return good();
  }
  bool start_object(std::size_t /*elements*/) { return open(true); }
  bool start_array(std::size_t /*elements*/) { return open(false); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                   const json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: what is wrong"
    std::string sentence = error.what();
    if (const auto colon = sentence.find(": "); colon != std::string::npos) {
      sentence.erase(0, colon + 2);
    }
    builder_.refuse(cursor_.last_line, "is not JSON: " + sentence);
    return false;
  }

  TreeBuilder& builder() { return builder_; }

 private:
  [[nodiscard]] bool good() const { return !builder_.problem(); }
  bool put(json value) {
    builder_.value(std::move(value), cursor_.last_line);
    return good();
  }
  bool open(bool map) {
    builder_.open(map, cursor_.last_line);
    return good();
  }
  bool close() {
    builder_.close();
    return good();
  }

  const Cursor& cursor_;
  TreeBuilder builder_;
};

void skip_blanks(Cursor& cursor) {
  while (cursor.at != cursor.end &&
         (*cursor.at == ' ' || *cursor.at == '\t' || *cursor.at == '\r' || *cursor.at == '\n')) {
    if (*cursor.at++ == '\n') ++cursor.line;
  }
}

}  // namespace

ParsedText parse_json(std::string_view text) {
  ParsedText out;
  Cursor cursor{text.data(), text.data() + text.size()};
  for (skip_blanks(cursor); cursor.at != cursor.end; skip_blanks(cursor)) {
    cursor.last_line = cursor.line;
    JsonEvents events(cursor);
    const bool good = json::sax_parse(Characters(cursor), Characters(), &events,
                                      json::input_format_t::json, false);
    if (!good || !events.builder().finished()) {
      out.problems.push_back(
          events.builder().problem().value_or(SyntaxProblem{cursor.last_line, "is not JSON"}));
      break;  // where the next document would begin cannot be told
    }
    Document document = events.builder().take();
    if (!document.value.is_null()) out.documents.push_back(std::move(document));
  }
  return out;
}

}  // namespace podwire::control::manifests
