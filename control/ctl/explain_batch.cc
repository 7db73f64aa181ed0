#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <future>
#include <vector>

#include "control/ctl/explain_command.h"
#include "control/explain/explainer.h"

namespace podwire::control::ctl {
namespace {

constexpr std::size_t kChunk = explain::Explainer::kMostBytes;
constexpr std::size_t kLongestQuestion = 8 * 1024;

bool write_all(int output, std::string_view text) {
  while (!text.empty()) {
    const auto size = write(output, text.data(), text.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) {
      std::fprintf(stderr, "podwirectl: the answers cannot be written: %s\n", std::strerror(errno));
      return false;
    }
    text.remove_prefix(static_cast<std::size_t>(size));
  }
  return true;
}

// Cuts what is read into lines of bounded length. Of one that is too long a single byte is passed
// on, which is no question: it gets its error in its place.
class Lines {
 public:
  void take(std::string_view text) {
    for (const char c : text) {
      if (c == '\n') {
        end();
      } else if (length_++ < kLongestQuestion) {
        whole_ += c;
      } else if (length_ == kLongestQuestion + 1) {
        whole_.resize(start_);
        whole_ += '!';
      }
    }
  }
  void end() {
    whole_ += '\n';
    length_ = 0;
    start_ = whole_.size();
  }
  [[nodiscard]] bool has_rest() const { return length_ != 0; }
  std::string take_whole() {
    std::string lines = whole_.substr(0, start_);
    whole_.erase(0, start_);
    start_ = 0;
    return lines;
  }

 private:
  std::string whole_;
  std::size_t start_ = 0, length_ = 0;  // of the last line
};

bool write_answers(const Result<std::string>& answers, int output, bool& good) {
  if (!answers) {
    std::fprintf(stderr, "podwirectl: %s\n", answers.error().message.c_str());
    return false;
  }
  if (!write_all(output, *answers)) return false;
  for (std::size_t at = 0; at < answers->size(); at = answers->find('\n', at) + 1) {
    good &= !std::string_view(*answers).substr(at).starts_with("{\"error\"");
  }
  return true;
}

// In chunks that podwired takes. One is asked about while the answers to the one before it are
// written, so that podwired does not wait for us.
bool answer_all(std::string_view lines, int output, const AnswerLines& answer, bool& good) {
  std::future<Result<std::string>> asked;
  while (!lines.empty()) {
    std::size_t size = lines.size();
    if (size > kChunk) size = lines.rfind('\n', kChunk - 1) + 1;
    const auto answers = asked.valid() ? asked.get() : Result<std::string>();
    asked = std::async(std::launch::async, answer, lines.substr(0, size));
    if (!write_answers(answers, output, good)) return false;
    lines.remove_prefix(size);
  }
  return !asked.valid() || write_answers(asked.get(), output, good);
}

}  // namespace

bool answer_batch(int input, int output, const AnswerLines& answer) {
  std::vector<char> read_in(8 * kChunk);
  Lines lines;
  bool good = true;
  for (;;) {
    const auto size = read(input, read_in.data(), read_in.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) {
      std::fprintf(stderr, "podwirectl: the questions cannot be read: %s\n", std::strerror(errno));
      return false;
    }
    lines.take({read_in.data(), static_cast<std::size_t>(size)});
    if (size == 0 && lines.has_rest()) lines.end();
    if (!answer_all(lines.take_whole(), output, answer, good)) return false;
    if (size == 0) return good;
  }
}

}  // namespace podwire::control::ctl
