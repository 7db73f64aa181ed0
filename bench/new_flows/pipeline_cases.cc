// Packets through the whole pipeline, from the parsed buffer to the one handed to the port.
#include <array>
#include <cmath>
#include <random>

#include "bench/lib/record.h"
#include "bench/new_flows/cases.h"
#include "bench/new_flows/traffic.h"
#include "dataplane/flow/flows.h"

namespace podwire::bench {
namespace {

using Kind = Client::Kind;
constexpr std::uint32_t kChecked = 2048;
// New connections that a table may hold beside those that stay, and how many of them are ended at a
// time. Meanwhile other memory goes through the caches.
constexpr std::uint32_t kRoom = 32'768, kChurn = 16'384;
constexpr std::size_t kOtherMemory = 64U << 20U;

// Windows of new connections into a table of `flows` that stay.
class Openings {
 public:
  Openings(Client& client, std::uint32_t flows, std::vector<Kind> steps, unsigned connections)
      : client_(client),
        steps_(std::move(steps)),
        connections_(connections),
        first_(flows),
        next_(flows),
        other_memory_(kOtherMemory) {
    batches_.resize(steps_.size() * connections / kBatchSize);
    client_.verify(flows, kChecked);
    client_.close(flows, kChecked);
    client_.open(0, flows);
  }
  [[nodiscard]] Subject subject() {
    return {[this] { prepare(); }, [this] { return run(); }};
  }

 private:
  void prepare() {
    const std::size_t left = client_.discard_sent();
    if (left != sent_) client_.stop_for_loss("packets that were measured");
    if (open_ + connections_ > kChurn) {
      client_.close(next_ - open_, open_);
      open_ = 0;
      // Numbers come again once their connections are long gone.
      if (next_ + kChurn > client_.most()) next_ = first_;
      for (std::size_t i = 0; i < other_memory_.size(); i += 64) ++other_memory_[i];
    }
    std::size_t at = 0;
    for (const Kind kind : steps_) {
      for (unsigned n = 0; n < connections_; ++n) {
        if (batches_[at].full()) ++at;
        client_.append(batches_[at], next_ + n, kind);
      }
      ++at;
    }
    open_ += connections_;
    next_ += connections_;
    sent_ = steps_.size() * connections_;
  }
  std::uint64_t run() {
    Worker& w = client_.world().worker();
    for (Burst& batch : batches_) {
      w.process(batch);
      client_.world().shared().quiescence.report(0);
    }
    return connections_;
  }

  Client& client_;
  const std::vector<Kind> steps_;
  const unsigned connections_;
  const std::uint32_t first_;
  std::uint32_t next_, open_ = 0;
  std::size_t sent_ = 0;
  std::vector<Burst> batches_;
  std::vector<std::uint8_t> other_memory_;
};

void report(const Options& options, const char* name, const char* rate, const Client& client,
            const Measured& measured) {
  const double hz = static_cast<double>(client.cycles_per_second());
  const auto per_second = std::lround(hz / measured.cycles.median);
  const auto bytes = std::lround(client.bytes_per_connection());
  Row row{{"case", name},
          {"flows", options.flows},
          {rate, per_second},
          {"cycles", to_json(measured.cycles)},
          {"bytes_per_connection", bytes}};
  add_record(row, measured.noise);
  char line[200];
  std::snprintf(line, sizeof line,
                "%-10s %9u flows  %7.1f cycles (%.1f to %.1f)  %.2f million a second  %ld bytes%s",
                name, options.flows, measured.cycles.median, measured.cycles.p10,
                measured.cycles.p90, static_cast<double>(per_second) / 1e6, bytes,
                measured.noise.quiet ? "" : "  (noisy)");
  show(row, options.json, line);
}

void measure_openings(const Options& options, const char* name, const char* rate,
                      std::uint8_t protocol, unsigned endpoints, const std::vector<Kind>& steps,
                      unsigned connections) {
  Client client({.limit = options.flows + kRoom, .protocol = protocol, .endpoints = endpoints});
  Openings openings(client, options.flows, steps, connections);
  const Subject subject = openings.subject();
  const auto measured =
      alternate({&subject, 1}, {.wanted = 401, .warm_up = 32, .seconds_max = options.seconds});
  report(options, name, rate, client, measured[0]);
}

// A burst of established connections, or of SYNs of others, in a table that is full of them: after
// bursts of established ones alone, or of both in turn.
class Flood {
 public:
  enum class Timed : std::uint8_t { known, known_in_flood, syns };

  Flood(Client& client, std::uint32_t flows)
      : client_(client), known_(flows / 10 * 9), next_(flows), random_(1) {
    client_.verify(flows, kChecked);
    client_.close(flows, kChecked);
    client_.open(0, known_);
    client_.establish(0, known_);
    client_.open(known_, flows - known_);
    created_ = created();
  }
  [[nodiscard]] Subject subject(Timed timed) {
    return {[this, timed] { prepare(timed); }, [this] { return run(); }};
  }

 private:
  [[nodiscard]] std::uint64_t created() const {
    return client_.world().worker().counters.flows_created.read();
  }
  // Every packet of a known connection left, and those SYNs that were given a flow.
  void settle() {
    const std::uint64_t left = client_.discard_sent();
    if (left != known_sent_ + created() - created_) {
      client_.stop_for_loss("packets of established connections");
    }
  }
  // Of bursts in turn, all but the last go through before it is timed.
  void prepare(Timed timed) {
    settle();
    known_sent_ = 0;
    created_ = created();
    bursts_.clear();
    for (unsigned b = 0; b < kBefore; ++b) {
      const bool flood = timed != Timed::known && b % 2 == (timed == Timed::syns ? 0 : 1);
      flood ? add_syns() : add_known();
    }
    timed == Timed::syns ? add_syns() : add_known();
    for (unsigned b = 0; b < kBefore; ++b) process(bursts_[b]);
  }
  void add_known() {
    Burst& burst = bursts_.emplace_back();
    while (!burst.full()) {
      const auto i = static_cast<std::uint32_t>(random_() % known_);
      client_.append(burst, i, i % 2 == 0 ? Kind::data : Kind::data_back);
    }
    known_sent_ += kBatchSize;
  }
  void add_syns() {
    if (next_ + kBatchSize > client_.most()) stop("new_flows", "--seconds is too long");
    Burst& burst = bursts_.emplace_back();
    while (!burst.full()) client_.append(burst, next_++, Kind::syn);
  }
  void process(Burst& burst) {
    client_.world().worker().process(burst);
    client_.world().shared().quiescence.report(0);
  }
  std::uint64_t run() {
    process(bursts_.back());
    return kBatchSize;
  }

  static constexpr unsigned kBefore = 4;
  Client& client_;
  const std::uint32_t known_;
  std::uint32_t next_;
  std::mt19937 random_;
  std::vector<Burst> bursts_;
  std::uint64_t known_sent_ = 0, created_ = 0;
};

}  // namespace

void measure_services(const Options& options) {
  constexpr std::uint32_t kFew = 10, kMany = 10'000;
  const std::uint32_t flows = std::min(options.flows, kLeastFlows);
  const auto client_of = [&](std::uint32_t services, std::uint32_t others) {
    return Client(
        {.limit = flows + kRoom, .protocol = 17, .services = services, .other_services = others});
  };
  Client few = client_of(kFew, 0), few_of_many = client_of(kFew, kMany - kFew),
         many = client_of(kMany, 0);
  const auto openings_of = [&](Client& client) {
    return Openings(client, flows, {Kind::udp}, 256);
  };
  Openings a = openings_of(few), b = openings_of(few_of_many), c = openings_of(many);
  const std::array subjects{a.subject(), b.subject(), c.subject()};
  const auto measured =
      alternate(subjects, {.wanted = 401, .warm_up = 32, .seconds_max = options.seconds});
  const auto times = [&](std::size_t n) {
    return std::round(measured[n].cycles.median / measured[0].cycles.median * 1000) / 1000;
  };
  Row row{{"case", "services"},
          {"flows", flows},
          {"cycles_10_services", to_json(measured[0].cycles)},
          {"ratio_10_of_10000", times(1)},
          {"ratio_10000_of_10000", times(2)}};
  add_record(row, together(measured));
  char line[200];
  std::snprintf(line, sizeof line,
                "services   %9u flows  %7.1f cycles with 10 Services; to 10 of 10,000 %.2f times, "
                "to all of 10,000 %.2f times",
                flows, measured[0].cycles.median, times(1), times(2));
  show(row, options.json, line);
}

void measure_syn_flood(const Options& options) {
  Client client({.limit = options.flows, .protocol = 6, .endpoints = 1});
  Flood flood(client, options.flows - kChecked);
  using Timed = Flood::Timed;
  const std::array subjects{flood.subject(Timed::known), flood.subject(Timed::known_in_flood),
                            flood.subject(Timed::syns)};
  const auto measured =
      alternate(subjects, {.wanted = 801, .warm_up = 32, .seconds_max = options.seconds});
  const double alone = measured[0].cycles.median, mixed = measured[1].cycles.median;
  const double share = std::round(alone / mixed * 1000) / 1000;
  Row row{{"case", "syn-flood"},
          {"flows", options.flows},
          {"established_lost", 0},
          {"established_cycles", to_json(measured[0].cycles)},
          {"flooded_cycles", to_json(measured[1].cycles)},
          {"syn_cycles", to_json(measured[2].cycles)},
          {"goodput_share", share}};
  add_record(row, together(measured));
  char line[200];
  std::snprintf(line, sizeof line,
                "syn-flood  %9u flows  established %.1f cycles alone, %.1f in the flood: %.1f%%; a "
                "SYN %.1f; none lost",
                options.flows, alone, mixed, share * 100, measured[2].cycles.median);
  show(row, options.json, line);
}

void measure_udp(const Options& options) {
  measure_openings(options, "udp", "flows_per_second", 17, 10, {Kind::udp}, 256);
}

void measure_tcp(const Options& options) {
  measure_openings(options, "tcp", "connections_per_second", 6, 1,
                   {Kind::syn, Kind::syn_ack, Kind::ack, Kind::data, Kind::data_back, Kind::fin,
                    Kind::fin_back, Kind::ack},
                   64);
}

}  // namespace podwire::bench
