#include "control/bgp/bird.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

namespace podwire::control::bgp {
namespace {

using boost::system::error_code;

constexpr auto kFollow = std::chrono::seconds(1);
constexpr auto kCheckAgain = std::chrono::seconds(5);
constexpr int kReconfiguring[] = {3, 4, 18};  // done, in progress, queued behind one

// In the configuration itself, so that a running bird can be asked which one it has: `eval`.
constexpr const char* kNumber = "podwire_configuration";

std::string number_of(const std::string& text) {
  std::uint32_t hash = 2166136261;  // FNV-1a
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619;
  return std::to_string(hash);
}

std::string with_number(const std::string& text) {
  return "# Written by podwired, which replaces it when objects change.\ndefine " +
         std::string(kNumber) + " = " + number_of(text) + ";\n" + text;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// "bird: /run/x.conf.new:5:33 syntax error" -> "line 5: syntax error": the file is of no use to
// whoever reads this, since it is gone.
std::string sentence_of(std::string output, const std::string& file) {
  output.erase(std::min(output.find('\n'), output.size()));
  const auto place = output.find(file + ":");
  if (place == std::string::npos) return output.empty() ? "no reason is given" : output;
  const auto line = place + file.size() + 1;
  const auto colon = output.find(':', line), space = output.find(' ', line);
  if (colon == std::string::npos || space == std::string::npos) return output;
  return output.substr(space + 1) + " (line " + output.substr(line, colon - line) + ")";
}

}  // namespace

Bird::Bird(boost::asio::io_context& io, Paths paths, std::function<void()> changed)
    : io_(io),
      paths_(std::move(paths)),
      changed_(std::move(changed)),
      client_(io, paths_.socket,
              {.connected =
                   [this](const std::string& greeting) {  // "BIRD 2.0.12 ready."
                     version_ = greeting.substr(0, greeting.find(" ready"));
                     trouble_.clear();
                     compare();
                     follow();
                   },
               .lost =
                   [this](const std::string& why) {
                     trouble_ = "does not answer at " + paths_.socket + ": " + why +
                                "; what it has taught Linux stays in force";
                     protocols_.clear();
                     changed_();
                   }}),
      timer_(io),
      again_(io) {}

void Bird::start() {
  in_place_ = read_file(paths_.configuration);
  client_.start();
}

void Bird::stop() {
  stopped_ = true;
  client_.stop();
  timer_.cancel();
  again_.cancel();
  check_.reset();
}

void Bird::want(std::string text) {
  text = with_number(text);
  if (wanted_ == text) return;
  wanted_ = std::move(text);
  settle();
}

void Bird::settle() {
  if (stopped_ || check_ != nullptr || !wanted_ || wanted_ == refused_) return;
  if (*wanted_ == in_place_) {
    if (!refusal_.empty()) {
      refusal_.clear();
      refused_.reset();
      changed_();
    }
    return;
  }
  if (const auto written = write_aside(*wanted_); !written) {
    return give_up_for_now(written.error().message);
  }
  auto check =
      Program::start(io_, {paths_.program, "-p", "-c", paths_.configuration + ".new"},
                     [this, text = *wanted_](const Program::End& end) { checked(text, end); });
  if (!check) return give_up_for_now(check.error().message);
  check_ = std::move(*check);
}

void Bird::checked(const std::string& text, const Program::End& end) {
  check_.reset();
  if (end.exit_code != 0) {
    ++refusals_;
    refuse("bird refuses the configuration: " +
           sentence_of(end.output, paths_.configuration + ".new"));
  } else if (const auto installed = install(text); !installed) {
    give_up_for_now(installed.error().message);
  } else {
    refused_.reset();
    refusal_.clear();
    configure();
    changed_();
  }
  settle();  // another may be wanted by now
}

// Not tried again before something else is wanted.
void Bird::refuse(std::string sentence) {
  refused_ = wanted_;
  refusal_ = std::move(sentence) + "; the last good one stays in force";
  unlink((paths_.configuration + ".new").c_str());
  changed_();
}

// The machine is at fault, not the configuration: it may mend.
void Bird::give_up_for_now(std::string sentence) {
  refuse(std::move(sentence));
  again_.expires_after(kCheckAgain);
  again_.async_wait([this](error_code error) {
    if (error || stopped_) return;
    refused_.reset();
    settle();
  });
}

Result<void> Bird::write_aside(const std::string& text) const {
  const std::string path = paths_.configuration + ".new";
  const auto failed = [&] { return fail(path + " cannot be written: " + std::strerror(errno)); };
  unlink(path.c_str());  // whatever mode it has
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return failed();
  std::size_t written = 0;
  while (written < text.size()) {
    const auto count = write(file, text.data() + written, text.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      close(file);
      return failed();
    }
    written += static_cast<std::size_t>(count);
  }
  if (close(file) != 0) return failed();
  return {};
}

Result<void> Bird::install(const std::string& text) {
  const std::string aside = paths_.configuration + ".new";
  if (rename(aside.c_str(), paths_.configuration.c_str()) != 0) {
    return fail(paths_.configuration + " cannot be replaced: " + std::strerror(errno));
  }
  in_place_ = text;
  return {};
}

void Bird::compare() {
  client_.ask(std::string("eval ") + kNumber, [this](const BirdAnswer& answer) {
    const std::string running = answer.failed() ? "" : answer.lines.back().text;
    const std::string line = std::string("define ") + kNumber + " = " + running + ";";
    if (!in_place_.empty() && in_place_.find(line) == std::string::npos) configure();
  });
}

void Bird::configure() {
  client_.ask("configure \"" + paths_.configuration + "\"", [this](const BirdAnswer& answer) {
    if (std::ranges::count(kReconfiguring, answer.code()) > 0) {
      ++reloads_;
    } else {
      refusal_ = "bird does not take the configuration: " + answer.lines.back().text;
    }
    changed_();
  });
}

void Bird::follow() {
  if (stopped_ || !client_.connected()) return;
  client_.ask("show protocols all", [this](const BirdAnswer& answer) {
    protocols_ = read_protocols(answer);
    changed_();
    timer_.expires_after(kFollow);
    timer_.async_wait([this](error_code error) {
      if (!error) follow();
    });
  });
}

}  // namespace podwire::control::bgp
