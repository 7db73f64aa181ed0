// What one turn of BlockIpam carries from answer to answer. Private to control/ipam.
#pragma once

#include "control/ipam/block_ipam.h"

namespace podwire::control {

struct BlockIpam::Turn {
  std::vector<Waiter> waiters;      // their pools are those of the first
  std::set<net::Prefix> tried;      // blocks that have nothing for us
  std::set<net::Prefix> claimed;    // that we have tried to claim
  net::Prefix cidr;                 // the block that it is about now
  std::optional<Block> block;       // with what was assigned, not written yet
  std::vector<std::size_t> chosen;  // waiters that have an address of `block`
  std::vector<net::Address> given;  // theirs
  std::size_t counting = 0;         // handles that are still being written
  bool counted_all = true;
  nlohmann::json affinity;
  unsigned tries = 0;

  [[nodiscard]] const std::vector<Pool>& pools() const { return waiters.front().ask.pools; }
  [[nodiscard]] const std::optional<net::Address>& fixed() const {
    return waiters.front().ask.fixed;
  }
};

using Why = ObjectFailure::Why;

inline bool is_failure(const ObjectClient::Answer& answer, Why why) {
  return !answer && answer.error().why == why;
}

// libcalico-go tries 100 times (datastoreRetries).
inline constexpr unsigned kMostTries = 100;

struct BlockIpam::Disowning {
  std::string node;
  net::Prefix cidr;
  nlohmann::json affinity;
};

struct BlockIpam::Freeing {
  Release what;
  std::function<void(bool)> told;
  nlohmann::json handle;  // null: there is none
  std::set<net::Prefix> blocks;
  unsigned tries = 0;
};

}  // namespace podwire::control
