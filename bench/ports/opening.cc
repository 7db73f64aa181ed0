#include "bench/ports/opening.h"

#include <rte_cycles.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "bench/ports/pacer.h"

namespace podwire::ports {
namespace {

constexpr double kOpeningsPerSecond = 200'000;
constexpr unsigned kRounds = 10;        // tries for each flow
constexpr double kSettleSeconds = 0.1;  // without arrivals before a round has ended

}  // namespace

// One packet of each flow in one direction, again for those that did not come through.
struct Opener::Wave {
  const Way& way;
  std::uint8_t direction;  // 0 or Stamp::kReply
  Segment segment;
  std::function<FlowTuple(std::uint32_t flow)> tuple;
  std::function<void(const Received&)> arrived;
  std::vector<std::uint32_t> waiting;
  std::vector<bool> done;
  std::uint64_t last_arrival = 0;
};

void Opener::take(Wave& wave) {
  wave.way.sink.poll_each([&](const Received& received) {
    const auto& stamp = received.stamp;
    const bool ours = stamp.trial == (trial_ | wave.direction) && stamp.flow < wave.done.size();
    if (!ours || wave.done[stamp.flow]) return;
    const bool tcp = wave.way.maker.shape().protocol == net::protocol::tcp;
    if (tcp && received.tcp_flags != wave.segment.flags) return;
    wave.done[stamp.flow] = true;
    wave.last_arrival = rte_rdtsc();
    if (wave.arrived) wave.arrived(received);
  });
}

void Opener::send_round(Wave& wave) {
  const auto& shape = wave.way.maker.shape();
  const auto length = static_cast<std::uint16_t>(std::max(64U, shape.least_size()) - kFcs);
  Pacer pacer(kOpeningsPerSecond, rte_get_tsc_hz(), 1);
  pacer.start(rte_rdtsc());
  for (std::size_t next = 0; next < wave.waiting.size();) {
    take(wave);
    if (pacer.take(rte_rdtsc(), 1) == 0) continue;
    rte_mbuf* frame = rte_pktmbuf_alloc(&pool_);
    if (frame == nullptr) continue;
    const std::uint32_t flow = wave.waiting[next];
    rte_pktmbuf_append(frame, length);
    const Stamp stamp{Stamp::kMark, static_cast<std::uint8_t>(trial_ | wave.direction), flow, 0,
                      rte_rdtsc()};
    wave.way.maker.make(rte_pktmbuf_mtod(frame, std::uint8_t*), length, wave.tuple(flow), stamp,
                        wave.segment);
    if (wave.way.device.transmit(&frame, 1) == 1) {
      ++next;
    } else {
      rte_pktmbuf_free(frame);
    }
  }
}

Result<void> Opener::run(Wave& wave) {
  const auto settle = static_cast<std::uint64_t>(kSettleSeconds * rte_get_tsc_hz());
  const std::size_t flows = wave.done.size();
  wave.waiting.resize(flows);
  std::iota(wave.waiting.begin(), wave.waiting.end(), 0U);
  for (unsigned round = 0; round < kRounds && !wave.waiting.empty(); ++round) {
    send_round(wave);
    wave.last_arrival = rte_rdtsc();
    const auto all = [&] {
      return std::all_of(wave.waiting.begin(), wave.waiting.end(),
                         [&](std::uint32_t flow) { return wave.done[flow]; });
    };
    while (rte_rdtsc() - wave.last_arrival < settle && !all()) take(wave);
    std::erase_if(wave.waiting, [&](std::uint32_t flow) { return wave.done[flow]; });
  }
  if (wave.waiting.empty()) return {};
  const std::string what = wave.direction == 0 ? "packets" : "replies";
  const std::size_t missing = wave.waiting.size();
  return fail((missing == flows
                   ? "no " + what + " come"
                   : "of " + std::to_string(flows) + " flows " + std::to_string(missing) +
                         " send " + what + " that do not come") +
              " through the device under test; are addresses, port and its MAC address right?");
}

Result<std::vector<FlowTuple>> Opener::open(const FlowSpace& space, std::uint32_t flows,
                                            bool both_ways) {
  using net::Tcp;
  const bool tcp = forward_.maker.shape().protocol == net::protocol::tcp;
  std::vector<FlowTuple> replies(flows);
  const auto out = [&](std::uint32_t flow) { return space.tuple(flow); };
  const auto back = [&](std::uint32_t flow) { return replies[flow]; };
  const auto learn = [&](const Received& received) {
    replies[received.stamp.flow] = received.tuple.swapped();
  };
  std::vector<Wave> waves;
  const std::vector<bool> none(flows);
  const Segment syn{Tcp::syn, 0, 0}, syn_ack{Tcp::syn | Tcp::ack, 0, Segment::kOpened};
  waves.push_back({forward_, 0, tcp ? syn : Segment{}, out, learn, {}, none});
  if (tcp || both_ways) {
    waves.push_back({reply_, Stamp::kReply, tcp ? syn_ack : Segment{}, back, {}, {}, none});
  }
  if (tcp) waves.push_back({forward_, 0, Segment{}, out, {}, {}, none});
  for (Wave& wave : waves) {
    if (auto done = run(wave); !done) return tl::unexpected(done.error());
  }
  return replies;
}

}  // namespace podwire::ports
