#include "bench/versus/traffic/generator.h"

#include <rte_cycles.h>

#include <algorithm>
#include <numeric>

#include "bench/versus/traffic/frames.h"

namespace podwire::versus {
namespace {

constexpr unsigned kPasses = 8;                // over flows that have not been answered
constexpr unsigned kInFlight = 128;            // while establishing: fewer than any ring holds
constexpr std::uint64_t kSilenceUs = 100'000;  // then nothing more comes
constexpr std::uint64_t kThoroughEvery = 32;

std::uint64_t cycles_of_us(std::uint64_t us) {
  return rte_get_tsc_hz() / 1'000'000 * us;
}

// A stride that visits all of `flows` and jumps about in memory.
std::uint32_t stride_for(std::uint32_t flows) {
  auto stride = static_cast<std::uint32_t>(flows * 0.6180339887) | 1U;
  while (std::gcd(stride, flows) != 1) stride += 2;
  return stride;
}

}  // namespace

void Generator::blame(Outcome& outcome, std::uint32_t flow, const char* fault) {
  if (outcome.wrong++ == 0) {
    outcome.fault = "a frame of flow " + std::to_string(flow) + " " + fault;
  }
}

// Gives one frame to the device within the time of silence.
bool Generator::push(rte_mbuf* frame) {
  const std::uint64_t end = rte_rdtsc() + cycles_of_us(kSilenceUs);
  while (device_.transmit({&frame, 1}) == 0) {
    if (rte_rdtsc() > end) {
      rte_pktmbuf_free(frame);
      return false;
    }
  }
  return true;
}

// Answers requests that have arrived; returns how many flows came to their end.
unsigned Generator::pull_established(std::vector<State>& states, Outcome& outcome) {
  unsigned done = 0;
  for (rte_mbuf* frame : device_.receive()) {
    auto* data = rte_pktmbuf_mtod(frame, std::uint8_t*);
    const Seen seen = examine(data, frame->data_len, scene_, true);
    if (seen.kind == Seen::Kind::wrong) blame(outcome, seen.flow, seen.fault);
    if (seen.kind == Seen::Kind::request && seen.flow < states.size()) {
      rte_mbuf* reply = device_.make(kFrameSize);
      if (reply != nullptr) {
        write_reply(rte_pktmbuf_mtod(reply, std::uint8_t*), scene_, seen.flow, seen.backend);
        outcome.sent += push(reply) ? 1 : 0;
      }
    }
    if (seen.kind == Seen::Kind::reply && seen.flow < states.size()) {
      if (states[seen.flow] != State::replied) ++done;
      states[seen.flow] = State::replied;
    }
    rte_pktmbuf_free(frame);
  }
  return done;
}

Outcome Generator::establish(std::uint32_t flows) {
  Outcome outcome;
  std::vector<State> states(flows, State::fresh);
  const std::uint64_t start = rte_rdtsc();
  for (unsigned pass = 0; pass < kPasses && outcome.received < flows; ++pass) {
    unsigned waiting = 0;
    std::uint64_t last = rte_rdtsc();
    for (std::uint32_t flow = 0; flow < flows || waiting > 0;) {
      if (flow < flows && states[flow] == State::replied) {
        ++flow;
      } else if (flow < flows && waiting < kInFlight) {
        if (rte_mbuf* frame = device_.make(kFrameSize); frame != nullptr) {
          write_request(rte_pktmbuf_mtod(frame, std::uint8_t*), scene_, flow++);
          waiting += push(frame) ? 1 : 0;
          ++outcome.sent;
          last = rte_rdtsc();
        }
      }
      const unsigned done = pull_established(states, outcome);
      outcome.received += done;
      waiting -= std::min(done, waiting);
      if (done > 0) last = rte_rdtsc();
      if (rte_rdtsc() - last > cycles_of_us(kSilenceUs)) waiting = 0;  // these are lost
    }
  }
  outcome.seconds =
      static_cast<double>(rte_rdtsc() - start) / static_cast<double>(rte_get_tsc_hz());
  return outcome;
}

unsigned Generator::pull(Outcome& outcome, std::uint64_t& last) {
  const auto frames = device_.receive();
  if (frames.empty()) return 0;
  last = rte_rdtsc();
  for (rte_mbuf* frame : frames) {
    const bool thorough = outcome.received % kThoroughEvery == 0;
    const Seen seen =
        examine(rte_pktmbuf_mtod(frame, std::uint8_t*), frame->data_len, scene_, thorough);
    if (seen.kind == Seen::Kind::wrong) blame(outcome, seen.flow, seen.fault);
    if (seen.kind == Seen::Kind::request) ++outcome.received;
  }
  rte_pktmbuf_free_bulk(frames.data(), static_cast<unsigned>(frames.size()));
  return static_cast<unsigned>(frames.size());
}

// Sends what `next(frame)` writes until it returns false, then waits for what is under way.
template <typename Next>
Outcome Generator::stream(Next&& next) {
  Outcome outcome;
  const std::uint64_t first = rte_rdtsc();
  std::uint64_t last = first;
  std::array<rte_mbuf*, Device::kBurst> burst;
  unsigned made = 0, at = 0;
  bool more = true;
  while (more || at < made) {
    if (at == made) {
      for (made = at = 0; more && made < burst.size(); ++made) {
        burst[made] = device_.make(kFrameSize);
        if (burst[made] == nullptr) break;
        more = next(rte_pktmbuf_mtod(burst[made], std::uint8_t*));
      }
    }
    const unsigned taken = device_.transmit({burst.data() + at, made - at});
    at += taken;
    outcome.sent += taken;
    pull(outcome, last);
  }
  std::uint64_t heard = rte_rdtsc();
  while (rte_rdtsc() - heard < cycles_of_us(kSilenceUs)) {
    if (pull(outcome, last) > 0) heard = rte_rdtsc();
  }
  outcome.seconds = static_cast<double>(last - first) / static_cast<double>(rte_get_tsc_hz());
  return outcome;
}

Outcome Generator::send(std::uint32_t flows, double seconds) {
  const std::uint32_t stride = stride_for(flows);
  const auto hz = static_cast<double>(rte_get_tsc_hz());
  const std::uint64_t end = rte_rdtsc() + static_cast<std::uint64_t>(seconds * hz);
  std::uint32_t flow = 0;
  return stream([&](std::uint8_t* out) {
    write_request(out, scene_, flow);
    flow = static_cast<std::uint32_t>((std::uint64_t{flow} + stride) % flows);
    return rte_rdtsc() < end;
  });
}

Outcome Generator::open(std::uint32_t first, std::uint32_t count) {
  std::uint32_t flow = first;
  return stream([&](std::uint8_t* out) {
    write_request(out, scene_, flow++);
    return flow - first < count;
  });
}

}  // namespace podwire::versus
