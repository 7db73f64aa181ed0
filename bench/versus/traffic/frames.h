// The frames of a run: 64 bytes with their check sequence, UDP over IPv4. Each says in its payload
// which flow it is of, so that whatever comes back can be held against what was sent.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bench/versus/traffic/scene.h"

namespace podwire::versus {

inline constexpr std::size_t kFrameSize = 60;
inline constexpr std::uint8_t kTtl = 64;

// The client's packet to its Service, and its backend's answer to it. `out` has kFrameSize bytes.
void write_request(std::uint8_t* out, const Scene& scene, std::uint32_t flow);
void write_reply(std::uint8_t* out, const Scene& scene, std::uint32_t flow, std::uint32_t backend);

struct Seen {
  enum class Kind : std::uint8_t {
    foreign,  // none of ours: neighbour discovery and the like
    request,  // has arrived at `backend`
    reply,    // has arrived at the client, from its Service
    wrong,
  };
  Kind kind;
  std::uint32_t flow, backend;
  const char* fault;  // what is wrong
};

// Judges a frame that the system has forwarded: is its destination one of the flow's backends, or,
// for an answer, its source the Service; ports, TTL, Ethernet addresses; with `thorough` both
// checksums as well.
[[nodiscard]] Seen examine(const std::uint8_t* frame, std::size_t size, const Scene& scene,
                           bool thorough);

}  // namespace podwire::versus
