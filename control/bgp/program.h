// Runs a program and tells how it ended, without waiting for it. Control thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/result.h"

namespace podwire::control::bgp {

class Program {
 public:
  struct End {
    int exit_code = 0;   // -1: it was ended by a signal, or took too long
    std::string output;  // of both its outputs, 16 KiB at most
  };
  // `ended` is called once from the event loop, never before start() returns, unless this is
  // destroyed earlier. The program is killed when it takes longer than 10 s.
  static Result<std::unique_ptr<Program>> start(boost::asio::io_context& io,
                                                const std::vector<std::string>& command,
                                                std::function<void(End)> ended);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

 private:
  struct Running;
  explicit Program(std::shared_ptr<Running> running) : running_(std::move(running)) {}
  std::shared_ptr<Running> running_;
};

}  // namespace podwire::control::bgp
