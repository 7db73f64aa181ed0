#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "control/ctl/explain_command.h"
#include "control/explain/explainer.h"

namespace podwire::control::ctl {
namespace {

struct Pipe {
  Pipe() {
    if (pipe(ends) != 0) std::abort();
  }
  ~Pipe() {
    close(ends[0]);
    close_input();
  }
  void close_input() {
    if (ends[1] >= 0) close(ends[1]);
    ends[1] = -1;
  }
  void put(const std::string& text) const {
    ASSERT_EQ(write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  [[nodiscard]] std::string line() const {
    std::string text;
    char c = 0;
    while (read(ends[0], &c, 1) == 1 && c != '\n') text += c;
    return text;
  }
  int ends[2] = {-1, -1};
};

// Says each line in brackets; an exclamation mark is no question.
Result<std::string> bracketed(std::string_view lines, std::vector<std::size_t>& sizes) {
  sizes.push_back(lines.size());
  std::string answers;
  while (!lines.empty()) {
    const std::size_t end = lines.find('\n');
    const std::string line(lines.substr(0, end));
    answers += line == "!" ? "{\"error\":\"no\"}\n" : "[" + line + "]\n";
    lines.remove_prefix(end + 1);
  }
  return answers;
}

TEST(ExplainBatch, AnswersALineBeforeTheNextComes) {
  const Pipe out;
  Pipe in;
  std::vector<std::size_t> sizes;
  bool good = false;
  std::thread filter([&] {
    good = answer_batch(in.ends[0], out.ends[1],
                        [&](std::string_view lines) { return bracketed(lines, sizes); });
  });
  for (const char* text : {"one", "", "three"}) {
    in.put(std::string(text) + "\n");
    EXPECT_EQ(out.line(), "[" + std::string(text) + "]");
  }
  in.put("half");
  in.put("-line\nthe last");
  EXPECT_EQ(out.line(), "[half-line]");
  in.close_input();
  EXPECT_EQ(out.line(), "[the last]");
  filter.join();
  EXPECT_TRUE(good);
}

TEST(ExplainBatch, ALineThatIsTooLongIsOneErrorInItsPlace) {
  const Pipe out;
  Pipe in;
  std::vector<std::size_t> sizes;
  bool good = true;
  std::thread filter([&] {
    good = answer_batch(in.ends[0], out.ends[1],
                        [&](std::string_view lines) { return bracketed(lines, sizes); });
  });
  in.put("a\n" + std::string(9000, 'x') + "\nb\n" + std::string(50000, 'y'));
  in.put(std::string(50000, 'y') + "\nc\n");
  in.close_input();
  for (const char* expected : {"[a]", "{\"error\":\"no\"}", "[b]", "{\"error\":\"no\"}", "[c]"}) {
    EXPECT_EQ(out.line(), expected);
  }
  filter.join();
  EXPECT_FALSE(good);
}

TEST(ExplainBatch, AsksInChunksOfWholeLines) {
  const Pipe out;
  Pipe in;
  std::vector<std::size_t> sizes;
  std::thread filter([&] {
    answer_batch(in.ends[0], out.ends[1],
                 [&](std::string_view lines) { return bracketed(lines, sizes); });
  });
  constexpr unsigned kLines = 20'000;
  std::thread writer([&] {
    for (unsigned n = 0; n < kLines; ++n) in.put("line " + std::to_string(n) + "\n");
    in.close_input();
  });
  for (unsigned n = 0; n < kLines; ++n) {
    ASSERT_EQ(out.line(), "[line " + std::to_string(n) + "]");
  }
  writer.join();
  filter.join();
  EXPECT_LE(std::ranges::max(sizes), explain::Explainer::kMostBytes);
}

TEST(ExplainBatch, EndsWhenNobodyAnswers) {
  const Pipe out;
  Pipe in;
  in.put("one\n");
  in.close_input();
  EXPECT_FALSE(answer_batch(in.ends[0], out.ends[1], [](std::string_view) {
    return Result<std::string>(fail("podwired does not answer"));
  }));
}

}  // namespace
}  // namespace podwire::control::ctl
