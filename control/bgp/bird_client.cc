#include "control/bgp/bird_client.h"

#include <algorithm>
#include <boost/asio.hpp>
#include <cctype>
#include <chrono>
#include <istream>
#include <utility>

namespace podwire::control::bgp {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr auto kAgain = std::chrono::milliseconds(500);
constexpr auto kLongestAnswer = std::chrono::seconds(10);
constexpr std::size_t kLongestLine = 64 * 1024;

bool has_code(const std::string& line) {
  return line.size() >= 5 && (line[4] == ' ' || line[4] == '-') &&
         std::all_of(line.begin(), line.begin() + 4,
                     [](unsigned char c) { return std::isdigit(c) != 0; });
}

}  // namespace

bool read_line(std::string line, BirdAnswer& answer) {
  if (line.starts_with('+')) return false;  // of a log that somebody asked for
  if (has_code(line)) {
    const bool last = line[4] == ' ';
    answer.lines.push_back({std::stoi(line.substr(0, 4)), line.substr(5)});
    return last;
  }
  const int code = answer.lines.empty() ? 0 : answer.lines.back().code;
  answer.lines.push_back({code, line.starts_with(' ') ? line.substr(1) : std::move(line)});
  return false;
}

BirdClient::BirdClient(asio::io_context& io, std::string path, Events events)
    : io_(io), path_(std::move(path)), events_(std::move(events)), timer_(io), deadline_(io) {}

BirdClient::~BirdClient() {
  stop();
}

void BirdClient::start() {
  connect();
}

void BirdClient::stop() {
  stopped_ = true;
  ++*round_;
  timer_.cancel();
  deadline_.cancel();
  commands_.clear();
  close();
}

// Handlers that are under way hold the socket, not the connection.
void BirdClient::close() {
  if (socket_ == nullptr) return;
  error_code ignored;
  socket_->close(ignored);
  socket_.reset();
}

void BirdClient::connect() {
  const unsigned round = ++*round_;
  socket_ = std::make_shared<asio::local::stream_protocol::socket>(io_);
  input_ = std::make_shared<asio::streambuf>(kLongestLine);
  answer_ = {};
  ready_ = sent_ = false;
  deadline_.expires_after(kLongestAnswer);  // until the greeting is here
  deadline_.async_wait([this, round, rounds = round_](error_code error) {
    if (!error && *rounds == round) lose("it does not answer");
  });
  socket_->async_connect(path_, [this, round, rounds = round_, held = socket_](error_code error) {
    if (*rounds != round) return;
    if (error) return lose(error.message());
    read();
  });
}

void BirdClient::read() {
  asio::async_read_until(
      *socket_, *input_, '\n',
      [this, round = *round_, rounds = round_, held = socket_, input = input_](error_code error,
                                                                               std::size_t) {
        if (*rounds != round) return;
        if (error) return lose(error == asio::error::eof ? "it has ended" : error.message());
        std::istream stream(input.get());
        std::string line;
        std::getline(stream, line);
        if (read_line(std::move(line), answer_)) answer_is_whole();
        if (*rounds == round) read();
      });
}

void BirdClient::answer_is_whole() {
  const BirdAnswer whole = std::exchange(answer_, {});
  deadline_.cancel();
  if (!ready_) {
    ready_ = true;
    told_lost_ = false;
    events_.connected(whole.lines.back().text);
  } else if (sent_) {
    sent_ = false;
    const auto answered = std::move(commands_.front().answered);
    commands_.pop_front();
    if (answered) answered(whole);
  }
  send_next();
}

void BirdClient::ask(std::string command, std::function<void(const BirdAnswer&)> answered) {
  if (!ready_) return;
  commands_.push_back({std::move(command) + "\n", std::move(answered)});
  send_next();
}

void BirdClient::send_next() {
  if (!ready_ || sent_ || commands_.empty()) return;
  sent_ = true;
  deadline_.expires_after(kLongestAnswer);
  deadline_.async_wait([this, round = *round_, rounds = round_](error_code error) {
    if (!error && *rounds == round) lose("it does not answer");
  });
  asio::async_write(
      *socket_, asio::buffer(commands_.front().text),
      [this, round = *round_, rounds = round_, held = socket_](error_code error, std::size_t) {
        if (error && *rounds == round) lose(error.message());
      });
}

void BirdClient::lose(const std::string& why) {
  if (stopped_) return;
  ++*round_;
  deadline_.cancel();
  commands_.clear();
  ready_ = sent_ = false;
  close();
  timer_.expires_after(kAgain);
  timer_.async_wait([this, rounds = round_](error_code error) {
    if (!error && !stopped_) connect();
  });
  if (!std::exchange(told_lost_, true)) events_.lost(why);
}

}  // namespace podwire::control::bgp
