// A connection to BIRD's control socket, as birdc has it: commands in, answers out, one after
// another. Connects, and connects again when the connection is lost. Control thread only.
//
// Protocol (BIRD's doc/reply_codes and nest/cli.c): lines of "NNNN-text" and " text" and a last one
// of "NNNN text"; codes from 8000 on are errors.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/streambuf.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace podwire::control::bgp {

struct BirdAnswer {
  struct Line {
    int code = 0;
    std::string text;
  };
  std::vector<Line> lines;
  [[nodiscard]] int code() const { return lines.empty() ? 0 : lines.back().code; }
  [[nodiscard]] bool failed() const { return code() >= 8000; }
};

// Adds one line of BIRD's output; true when it is the last of its answer.
bool read_line(std::string line, BirdAnswer& answer);

class BirdClient {
 public:
  struct Events {
    std::function<void(const std::string& greeting)> connected;
    // Why, once until it is connected again: also when the first attempt fails.
    std::function<void(const std::string& sentence)> lost;
  };
  // Begins to connect at start().
  BirdClient(boost::asio::io_context& io, std::string path, Events events);
  ~BirdClient();
  BirdClient(const BirdClient&) = delete;
  BirdClient& operator=(const BirdClient&) = delete;

  void start();
  void stop();
  [[nodiscard]] bool connected() const { return ready_; }
  // Answered from the event loop; never when the connection is lost before.
  void ask(std::string command, std::function<void(const BirdAnswer&)> answered);

 private:
  struct Command {
    std::string text;
    std::function<void(const BirdAnswer&)> answered;
  };
  void connect();
  void read();
  void answer_is_whole();
  void send_next();
  void close();
  void lose(const std::string& why);

  boost::asio::io_context& io_;
  const std::string path_;
  const Events events_;
  boost::asio::steady_timer timer_, deadline_;
  // Handlers of a connection that was given up find another number here, or nothing at all.
  std::shared_ptr<unsigned> round_ = std::make_shared<unsigned>(0);
  std::shared_ptr<boost::asio::local::stream_protocol::socket> socket_;
  std::shared_ptr<boost::asio::streambuf> input_;
  BirdAnswer answer_;
  std::deque<Command> commands_;  // the first is being answered when sent_
  bool ready_ = false, sent_ = false, told_lost_ = false, stopped_ = false;
};

}  // namespace podwire::control::bgp
