#include "tests/unit/control/bgp/bird_syntax.h"

#include <gtest/gtest.h>

namespace podwire::tests {
namespace {

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  // Up to the end of the block that `around` names.
  void block(const std::string& around) {
    std::string words;
    const auto end_statement = [&] {
      if (!words.empty()) all.insert(around.empty() ? words : around + " / " + words);
      words.clear();
    };
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (c == ';') {
        ++at_;
        end_statement();
      } else if (c == '}') {
        ++at_;
        end_statement();
        return;
      } else if (c == '{') {
        ++at_;
        const std::string name = around.empty() ? words : around + " / " + words;
        end_statement();
        block(name);
      } else if (c == ' ' || c == '\n') {
        ++at_;
      } else {
        words += (words.empty() ? "" : " ") + word();
      }
    }
    end_statement();
  }

  std::multiset<std::string> all;

 private:
  // Brackets and quotes hold together what is in them.
  std::string word() {
    std::string read;
    int depth = 0;
    char quote = 0;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (quote != 0) {
        if (c == quote) quote = 0;
      } else if (c == '"' || c == '\'') {
        quote = c;
      } else if (c == '(' || c == '[') {
        ++depth;
      } else if (c == ')' || c == ']') {
        --depth;
      } else if (depth == 0 && std::string_view(" \n;{}").find(c) != std::string_view::npos) {
        break;
      }
      read += c;
    }
    EXPECT_TRUE(depth == 0 && quote == 0) << "unfinished: " << read;
    return read;
  }

  const std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::multiset<std::string> bird_statements(std::string_view text) {
  Reader reader(text);
  reader.block("");
  return reader.all;
}

}  // namespace podwire::tests
