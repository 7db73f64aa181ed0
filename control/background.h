// Work that waits for the kernel or for a disk, so that the control thread does not. The control
// thread calls; jobs run on a few threads of this.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <utility>

namespace podwire::control {

class Background {
 public:
  // Outlived by `io`, which the control thread runs.
  explicit Background(boost::asio::io_context& io) : io_(io) {}
  // Jobs that have begun are waited for, others dropped.
  ~Background() {
    threads_.stop();
    threads_.join();
  }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // `job` on another thread, beside other jobs; `then` on the control thread, unless its loop has
  // stopped. Neither before this returns. What `job` captures must outlive this or be its own.
  void run(std::function<void()> job, std::function<void()> then) {
    boost::asio::post(threads_, [this, job = std::move(job), then = std::move(then)]() mutable {
      job();
      boost::asio::post(io_, std::move(then));
    });
  }

 private:
  static constexpr unsigned kThreads = 4;
  boost::asio::io_context& io_;
  boost::asio::thread_pool threads_{kThreads};
};

}  // namespace podwire::control
