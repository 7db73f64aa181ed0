// The frames of any number of flows without the memory or the time for them: flows of one Service
// differ in the client's port only (tests/packet/flow_cases.h), so one frame of each Service is
// built from its description, and the others are made from it as they are wanted.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "tests/lib/frame.h"

namespace podwire::bench {

// Adds `to` - `from` to an Internet checksum's field at `at`, RFC 1624.
void mend_checksum(std::uint8_t* at, std::uint16_t from, std::uint16_t to);

class Frames {
 public:
  // `exact(i)` is the frame of flow i. Ends the program when frames made are not like those.
  Frames(const std::function<test::Bytes(std::uint32_t)>& exact, std::uint32_t flows);

  [[nodiscard]] std::size_t size() const { return size_; }
  void write(std::uint32_t flow, std::uint8_t* to) const;

 private:
  void find_fields();
  std::size_t size_;
  std::size_t port_at_ = 0, checksum_at_ = 0;
  bool udp_ = false;
  test::Bytes templates_;  // one after the other
};

}  // namespace podwire::bench
