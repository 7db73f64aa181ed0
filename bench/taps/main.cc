// What a frame costs between podwire and a pod's kernel interface: a tap, and a veth behind
// DPDK's AF_XDP driver in copy mode, each through the port driver that podwired has for it.
//
// One thread on one core does everything, in a network namespace of its own, and takes turns: the
// pod's kernel sends, untimed, then the port receives a full queue; the port sends, then the pod's
// socket takes it all, untimed. The pod's own part is measured in windows of its own: in copy mode
// the kernel copies for the receiver on the sender's time.
#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <sched.h>

#include <boost/program_options.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>

#include "bench/lib/alternate.h"
#include "bench/lib/eal.h"
#include "bench/lib/options.h"
#include "bench/lib/record.h"
#include "bench/taps/pod.h"
#include "dataplane/io/call_batch.h"
#include "dataplane/io/mempool.h"
#include "dataplane/io/tap.h"
#include "dataplane/io/uplink.h"

namespace podwire::bench {
namespace {

constexpr unsigned kBurst = 64;
constexpr unsigned kTries = 2'000'000;  // empty polls before a frame counts as lost

struct Options {
  unsigned queued = 256, super_queued = 8;
  Windows windows{.wanted = 101, .warm_up = 16, .seconds_max = 5};
  bool json = false;
};

struct Case {
  const char* name;
  unsigned frame_bytes;  // 0: super-frames
};
constexpr Case kCases[] = {{"64 bytes", 64}, {"1,500 bytes", 1514}, {"60,000 bytes", 0}};

// One interface, the port that podwire has to it, and the pod's kernel behind it.
struct Way {
  std::string name;
  std::shared_ptr<io::Port> port;
  std::shared_ptr<Pod> pod;
  io::CallBatch* calls = nullptr;  // what the port may use
  bool whole = true;               // super-frames cross it as they are
  std::uint64_t super_bytes = 0;   // that the pod had before what is under way
};

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {
    DataplaneConfig config;
    config.packet_buffers = 12288;
    config.large_buffers = 128;
    auto made = io::make_pools(config);
    if (!made) stop("taps", made.error().message);
    pools_ = *made;
    add_tap();
    add_xdp();
  }

  void run() {
    for (const Case& each : kCases) {
      compare(each, "in", [&](Way& way) { return receiving(way, each); });
      compare(each, "out", [&](Way& way) { return transmitting(way, each); });
      compare(each, "the pod sends", [&](Way& way) { return pod_sending(way, each); });
    }
  }

 private:
  void add_tap() {
    auto port = io::TapPort::open(
        {.netns = {}, .interface = "tap0", .mac = {{2, 0, 0, 0, 0, 1}}, .persistent = false},
        *pools_.packets, *pools_.large, "tap");
    if (!port) stop("taps", port.error().message);
    const auto pod = std::make_shared<Pod>("tap0", 1);
    ways_.push_back({"tap, a call a frame", *port, pod});
    auto batch = io::CallBatch::open();
    if (!batch) return left_out("tap, io_uring", batch.error());
    batch_ = std::move(*batch);
    ways_.push_back({"tap, io_uring", *port, pod, batch_.get()});
  }
  static void left_out(const char* way, const Error& why) {
    std::fprintf(stderr, "\n*** LEFT OUT: %s: %s ***\n\n", way, why.message.c_str());
  }
  // Nothing may be left to offloads: neither mark crosses AF_XDP.
  void add_xdp() {
    run_command("ip link add veth0 type veth peer name veth1 && ip link set veth1 up");
    for (const char* end : {"veth0", "veth1"}) {
      run_command(std::string("ethtool -K ") + end + " tx off tso off gso off >/dev/null");
    }
    auto port = io::Uplink::open("net_af_xdp0,iface=veth1,force_copy=1", 1, *pools_.packets);
    if (!port) return left_out("af_xdp", port.error());
    ways_.push_back({"af_xdp", *port, std::make_shared<Pod>("veth0", 2), nullptr, false});
  }

  [[nodiscard]] unsigned count_of(const Case& each) const {
    return each.frame_bytes != 0 ? options_.queued : options_.super_queued;
  }
  void send_from_pod(Way& way, const Case& each) const {
    if (each.frame_bytes != 0) {
      way.pod->send_datagrams(each.frame_bytes, options_.queued);
    } else {
      way.pod->send_super_frames(options_.super_queued);
    }
  }
  // Everything that the pod has sent, in bursts as a worker takes them. Ends the program when it
  // does not come, or not as it was sent.
  unsigned receive_all(Way& way, const Case& each) const {
    const std::uint64_t headers = each.frame_bytes != 0 ? 42 : kTcpHeaders;
    const std::uint64_t payload = each.frame_bytes != 0
                                      ? std::uint64_t{options_.queued} * (each.frame_bytes - 42)
                                      : std::uint64_t{options_.super_queued} * kSuperPayload;
    std::array<rte_mbuf*, kBurst> frames;
    std::uint64_t taken = 0;
    unsigned came = 0;
    for (unsigned empty = 0; taken < payload;) {
      const unsigned count = way.port->receive(0, frames);
      for (unsigned i = 0; i < count; ++i) taken += frames[i]->pkt_len - headers;
      came += count;
      rte_pktmbuf_free_bulk(frames.data(), count);
      if (count == 0 && ++empty == kTries) stop("taps", way.name + " lost frames on their way in");
      if (count == 0 && empty % 1024 == 0) sched_yield();
    }
    if (taken != payload || (way.whole && came != count_of(each)))
      stop("taps", way.name + " received what the pod did not send");
    return count_of(each);
  }
  // What was transmitted, in the pod.
  void await_all(Way& way, const Case& each) {
    unsigned datagrams = 0;
    for (unsigned tries = 0; tries < kTries; ++tries) {
      if (each.frame_bytes != 0) {
        datagrams += way.pod->take_datagrams();
        if (datagrams == options_.queued) return;
      } else {
        const std::uint64_t bytes = way.pod->received_bytes() - way.super_bytes;
        if (bytes >= std::uint64_t{options_.super_queued} * kSuperPayload) return;
      }
      sched_yield();
    }
    stop("taps", way.name + " lost frames on their way out");
  }

  // A subject whose windows leave something under way: `settle` takes it before the next one.
  Subject subject(io::CallBatch* calls, std::function<void()> prepare,
                  std::function<unsigned()> run, std::function<void()> settle) {
    return {[this, calls, prepare] {
              if (settle_) std::exchange(settle_, nullptr)();
              prepare();
              io::CallBatch::use(calls);
            },
            [this, run, settle] {
              settle_ = settle;
              return run();
            }};
  }
  Subject receiving(Way& way, const Case& each) {
    return subject(
        way.calls, [this, &way, &each] { send_from_pod(way, each); },
        [this, &way, &each] { return receive_all(way, each); }, nullptr);
  }
  Subject transmitting(Way& way, const Case& each) {
    return subject(
        way.calls, [this, &way, &each] { make_frames(way, each); },
        [this, &way] { return transmit_all(way); }, [this, &way, &each] { await_all(way, each); });
  }
  Subject pod_sending(Way& way, const Case& each) {
    return subject(
        way.calls, [] {},
        [this, &way, &each] {
          send_from_pod(way, each);
          return count_of(each);
        },
        [this, &way, &each] { receive_all(way, each); });
  }

  void make_frames(Way& way, const Case& each) {
    way.super_bytes = way.pod->received_bytes();
    const auto bytes =
        each.frame_bytes != 0 ? way.pod->datagram_frame(each.frame_bytes) : way.pod->super_frame();
    for (unsigned i = 0; i < count_of(each); ++i) frames_.push_back(frame_of(bytes));
  }
  rte_mbuf* frame_of(const std::vector<std::uint8_t>& bytes) const {
    rte_mbuf* frame = rte_pktmbuf_alloc(pools_.packets);
    if (frame == nullptr) stop("taps", "no buffers left");
    const std::size_t head = std::min<std::size_t>(bytes.size(), io::kPacketBytes);
    std::memcpy(rte_pktmbuf_append(frame, static_cast<std::uint16_t>(head)), bytes.data(), head);
    if (head == bytes.size()) return frame;
    rte_mbuf* rest = rte_pktmbuf_alloc(pools_.large);
    if (rest == nullptr) stop("taps", "no large buffers left");
    rest->data_off = 0;
    const auto left = static_cast<std::uint16_t>(bytes.size() - head);
    std::memcpy(rte_pktmbuf_append(rest, left), bytes.data() + head, left);
    rte_pktmbuf_chain(frame, rest);
    frame->ol_flags = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
    frame->tso_segsz = kSegmentBytes;
    return frame;
  }
  unsigned transmit_all(Way& way) {
    const auto all = static_cast<unsigned>(frames_.size());
    unsigned refusals = 0;
    for (std::size_t done = 0; done < frames_.size();) {
      const auto burst =
          std::span(frames_).subspan(done, std::min<std::size_t>(kBurst, frames_.size() - done));
      const unsigned taken = way.port->transmit(0, burst);
      done += taken;
      if (taken == 0 && ++refusals == kTries) stop("taps", way.name + " takes no more frames");
    }
    frames_.clear();
    return all;
  }

  // Every way in turns; a row for each.
  void compare(const Case& each, const char* direction,
               const std::function<Subject(Way&)>& subject_of) {
    std::vector<Subject> subjects;
    for (Way& way : ways_) subjects.push_back(subject_of(way));
    const auto measured = alternate(subjects, options_.windows);
    if (settle_) std::exchange(settle_, nullptr)();
    for (std::size_t i = 0; i < ways_.size(); ++i) report(ways_[i], each, direction, measured, i);
  }
  void report(const Way& way, const Case& each, const char* direction,
              std::span<const Measured> all, std::size_t own) const {
    const auto microseconds = [](double cycles) {
      return std::round(cycles / static_cast<double>(rte_get_tsc_hz()) * 1e9) / 1e3;
    };
    const Spread& cycles = all[own].cycles;
    const double us = microseconds(cycles.median);
    Row row{
        {"bench", "taps"},
        {"case", std::string(direction) + " " + each.name},
        {"system", way.name},
        {"core_us",
         {{"median", us}, {"p10", microseconds(cycles.p10)}, {"p90", microseconds(cycles.p90)}}},
        {"frames_per_second", std::lround(1e6 / us)},
        {"share", std::round(cycles.median / all[0].cycles.median * 100) / 100}};
    add_record(row, together(all));
    char line[200];
    std::snprintf(line, sizeof line, "%-13s %-11s %-20s %7.3f us (%.3f to %.3f)  %8ld/s  %.2f%s",
                  direction, each.name, way.name.c_str(), us, microseconds(cycles.p10),
                  microseconds(cycles.p90), std::lround(1e6 / us),
                  cycles.median / all[0].cycles.median,
                  row["noise"]["quiet"].get<bool>() ? "" : "  (never quiet: quietest third)");
    show(row, options_.json, line);
  }

  const Options& options_;
  io::Pools pools_;
  std::unique_ptr<io::CallBatch> batch_;
  std::vector<Way> ways_;
  std::vector<rte_mbuf*> frames_;
  std::function<void()> settle_;
};

Options read_options(int argc, char** argv) {
  namespace po = boost::program_options;
  Options given;
  po::options_description known("Taps beside AF_XDP; microseconds a frame, median (p10 to p90)");
  known.add_options()("help", "this text")("queued",
                                           po::value(&given.queued)->default_value(given.queued),
                                           "frames in a queue when they are taken, 1 to 1024")(
      "windows", po::value(&given.windows.wanted)->default_value(given.windows.wanted),
      "quiet windows that are wanted for each figure")(
      "seconds", po::value(&given.windows.seconds_max)->default_value(given.windows.seconds_max),
      "at most, for each case")("json", po::bool_switch(&given.json), "one JSON object a line");
  if (!read_words("taps", known, argc, argv)) std::exit(0);
  if (given.queued == 0 || given.queued > 1024) stop("taps", "--queued is 1 to 1024", 2);
  if (given.windows.wanted == 0 || !(given.windows.seconds_max > 0)) {
    stop("taps", "--windows and --seconds are more than 0", 2);
  }
  return given;
}

// Before DPDK has threads: they share the namespace.
void enter_namespace() {
  if (unshare(CLONE_NEWNET) != 0) stop("taps", "a network namespace of its own needs root");
  run_command("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 && ip link set lo up");
}

}  // namespace
}  // namespace podwire::bench

int main(int argc, char** argv) {
  using namespace podwire::bench;
  const Options given = read_options(argc, argv);
  warn_of_build("taps");
  enter_namespace();
  start_eal("taps");
  Bench(given).run();
  return 0;
}
