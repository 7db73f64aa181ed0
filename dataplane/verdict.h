// Every packet gets one verdict from every stage it passes. A drop cannot be built without a
// reason.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/reasons.h"

namespace podwire {

struct Packet;
struct Worker;

// What a stage does for a packet ahead of its decision (stage.h).
using Step = void (*)(Packet&, Worker&) noexcept;

class [[nodiscard]] Verdict {
 public:
  enum class Kind : std::uint8_t {
    next,    // go on to the next stage
    drop,    // free it, count the reason
    punt,    // hand the frame as it came to the host tap (from the host tap: to the uplink)
    answer,  // the frame was turned into its own reply: send it out of the port it came in on
    taken,   // the stage has the buffer: sent it, or will give it back (early fragment, next hop
             // unresolved)
  };

  static constexpr Verdict next() { return {Kind::next, Reason::none}; }
  static constexpr Verdict drop(Reason reason) { return {Kind::drop, reason}; }
  static constexpr Verdict punt() { return {Kind::punt, Reason::none}; }
  static constexpr Verdict answer() { return {Kind::answer, Reason::none}; }
  static constexpr Verdict taken() { return {Kind::taken, Reason::none}; }

  [[nodiscard]] constexpr Kind kind() const { return kind_; }
  [[nodiscard]] constexpr Reason reason() const { return reason_; }
  [[nodiscard]] constexpr bool goes_on() const { return kind_ == Kind::next; }

 private:
  constexpr Verdict(Kind kind, Reason reason) : kind_(kind), reason_(reason) {}
  Kind kind_;
  Reason reason_;
};
static_assert(sizeof(Verdict) == 2);

}  // namespace podwire
