// verdict: what policy adds to a new flow that begins and ends on this node. The same 1,000 sets of
// policies over the same 20,000 identities, while the number of policies grows; in turns with one
// look-up in rte_hash of as many keys, and with the same policies as rules of rte_acl.
#include <algorithm>
#include <array>
#include <boost/program_options.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <random>
#include <span>

#include "bench/lib/draw.h"
#include "bench/lib/eal.h"
#include "bench/lib/options.h"
#include "bench/lib/record.h"
#include "bench/lib/rte_hash_table.h"
#include "bench/verdict/acl.h"
#include "bench/verdict/cluster.h"

namespace podwire::bench {
namespace {

struct Options {
  ClusterSize size;
  std::vector<unsigned> policies;
  std::size_t most_acl_rules = 300'000;
  double seconds = 10;
  bool json = false;
};

constexpr unsigned kWindow = RteHashBaseline::kWindow;
constexpr std::size_t kQuestions = std::size_t{1} << 17;

// Flows between pods of this node: one of 16 is of any two others, at a port that no rule has.
std::vector<tables::PolicyQuestion> draw_questions(const tables::PolicyTable& table,
                                                   const ClusterSize& size) {
  const auto question = [](unsigned from, unsigned to, std::uint16_t port) {
    return tables::PolicyQuestion{Cluster::address(from), Cluster::address(to), net::be16(port), 6,
                                  false};
  };
  std::vector<tables::PolicyQuestion> allowed, drawn;
  for (unsigned from = 0; from < size.local; ++from) {
    for (unsigned to = 0; to < size.local; ++to) {
      for (std::uint16_t port = 0; port < Cluster::kPorts; ++port) {
        const auto asked =
            question(from, to, static_cast<std::uint16_t>(Cluster::kFirstPort + port));
        if (from != to && table.judge(asked).allowed) allowed.push_back(asked);
      }
    }
  }
  if (allowed.empty()) stop("verdict", "no two pods of the node may talk");
  std::mt19937 random(1);
  for (std::size_t n = 0; n < kQuestions; ++n) {
    const auto from = static_cast<unsigned>(random() % size.local);
    const unsigned to =
        (from + 1 + static_cast<unsigned>(random() % (size.local - 1))) % size.local;
    drawn.push_back(random() % 16 == 0 ? question(from, to, Cluster::kOtherPort)
                                       : allowed[random() % allowed.size()]);
  }
  return drawn;
}

// The next window of the questions.
class Window {
 public:
  explicit Window(std::span<const tables::PolicyQuestion> all) : all_(all) {}
  void next() {
    at_ = at_ + kWindow > all_.size() - kWindow ? 0 : at_ + kWindow;
    std::copy_n(all_.begin() + static_cast<std::ptrdiff_t>(at_), kWindow, now_.begin());
  }
  [[nodiscard]] const std::vector<tables::PolicyQuestion>& now() const { return now_; }

 private:
  std::span<const tables::PolicyQuestion> all_;
  std::size_t at_ = 0;
  std::vector<tables::PolicyQuestion> now_ = std::vector<tables::PolicyQuestion>(kWindow);
};

// In portions and steps, as a worker asks for the new flows of a burst (stages/policy.h).
Subject judge_portions(const tables::PolicyTable& table, Window& window) {
  constexpr unsigned kPortion = 32;
  static_assert(kWindow % kPortion == 0);
  return {[&] { window.next(); },
          [&] {
            unsigned allowed = 0;
            std::array<tables::PolicyEnds, kPortion> ends;
            for (unsigned at = 0; at < kWindow; at += kPortion) {
              const auto* questions = window.now().data() + at;
              for (unsigned n = 0; n < kPortion; ++n)
                ends[n] = table.ends(questions[n].source, questions[n].destination);
              for (unsigned n = 0; n < kPortion; ++n) {
                allowed += tables::PolicyTable::judge(questions[n], ends[n]).allowed;
              }
            }
            if (allowed == 0) stop("verdict", "a window of which nothing is allowed");
            return std::uint64_t{kWindow};
          }};
}

// rte_hash once more, a call for each key and nothing fetched ahead.
class SingleLookups {
 public:
  SingleLookups(unsigned keys, std::span<const std::uint32_t> sequence)
      : table_(keys), sequence_(sequence) {
    for (unsigned n = 0; n < keys; ++n) {
      const Key16 key = key_of(n);
      if (!table_.insert(&key, this)) stop("verdict", "rte_hash is full");
    }
  }
  [[nodiscard]] Subject subject() {
    return {[this] {
              for (Key16& key : keys_) {
                key = key_of(sequence_[next_]);
                next_ = (next_ + 1) % sequence_.size();
              }
            },
            [this] {
              void* data = nullptr;
              for (const Key16& key : keys_) {
                if (!table_.find(&key, &data)) stop("verdict", "rte_hash does not find its keys");
              }
              return std::uint64_t{kWindow};
            }};
  }

 private:
  static Key16 key_of(unsigned n) { return {0, 0, 0xffff0000U, 0x0a000001U + n}; }
  RteHashTable table_;
  std::span<const std::uint32_t> sequence_;
  std::size_t next_ = 0;
  std::array<Key16, kWindow> keys_{};
};

// Ends the program where rte_acl says otherwise than podwired's table.
void compare(const Acl& acl, const tables::PolicyTable& table,
             std::span<const tables::PolicyQuestion> questions) {
  for (const auto& question : questions) {
    const Acl::Packet packet = Acl::packet_of(question);
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&packet);
    std::array<std::uint32_t, Acl::kCategories> results{};
    acl.classify(&bytes, results.data(), 1);
    if (Acl::allows(results.data()) == table.judge(question).allowed) continue;
    stop("verdict", "rte_acl and podwire differ: " + question.source.to_string() + " to " +
                        question.destination.to_string() + " port " +
                        std::to_string(question.destination_port.host()));
  }
}

class Classify {
 public:
  Classify(const Acl& acl, Window& window) : acl_(acl), window_(window) {}
  [[nodiscard]] Subject subject() {
    return {[this] {
              window_.next();
              for (unsigned n = 0; n < kWindow; ++n) {
                packets_[n] = Acl::packet_of(window_.now()[n]);
                bytes_[n] = reinterpret_cast<const std::uint8_t*>(&packets_[n]);
              }
            },
            [this] {
              acl_.classify(bytes_.data(), results_.data(), kWindow);
              return std::uint64_t{kWindow};
            }};
  }

 private:
  const Acl& acl_;
  Window& window_;
  std::array<Acl::Packet, kWindow> packets_{};
  std::array<const std::uint8_t*, kWindow> bytes_{};
  std::array<std::uint32_t, kWindow * Acl::kCategories> results_{};
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Null where there are more rules than were asked for, or where rte_acl refuses them.
std::unique_ptr<Acl> make_acl(const Options& options, const Cluster& cluster, unsigned local,
                              Row& row) {
  const auto rules = cluster.allowed();
  row["acl_rules"] = rules.size();
  if (rules.size() > options.most_acl_rules) return nullptr;
  const auto start = std::chrono::steady_clock::now();
  auto acl = std::make_unique<Acl>(rules, local);
  row["acl_build_seconds"] = seconds_since(start);
  if (acl->trouble().empty()) return acl;
  row["acl_trouble"] = acl->trouble();
  return nullptr;
}

void run(const Options& options, unsigned policies) {
  ClusterSize size = options.size;
  size.policies = policies;
  const Cluster cluster(size);
  const auto table = cluster.table();
  const auto questions = draw_questions(*table, size);
  const auto sequence = draw("uniform", size.pods, kQuestions);
  Row row{{"case", "both_directions"},
          {"policies", policies},
          {"identities", size.pods},
          {"sets", 2 * size.local}};
  const auto acl = make_acl(options, cluster, size.local, row);
  if (acl != nullptr) compare(*acl, *table, questions);
  Window window(questions), again(questions);
  RteHashBaseline bulk(size.pods, sequence);
  SingleLookups single(size.pods, sequence);
  std::optional<Classify> classify;
  std::vector<Subject> subjects{bulk.subject(), single.subject(), judge_portions(*table, window)};
  if (acl != nullptr) subjects.push_back(classify.emplace(*acl, again).subject());
  const auto measured = alternate(subjects, {.seconds_max = options.seconds});
  const auto ratio = [&](std::size_t base) {
    return std::round(measured[2].cycles.median / measured[base].cycles.median * 100) / 100;
  };
  row["cycles"] = to_json(measured[2].cycles);
  row["rte_hash_cycles"] = to_json(measured[0].cycles);
  row["rte_hash_single_cycles"] = to_json(measured[1].cycles);
  row["ratio"] = ratio(0);
  row["ratio_single"] = ratio(1);
  if (acl != nullptr) row["rte_acl_cycles"] = to_json(measured[3].cycles);
  add_record(row, together(measured));
  char text[240];
  (void)std::snprintf(
      text, sizeof text,
      "%6u policies  %.0f cycles (%.0f to %.0f)  %.2f of rte_hash in bursts (%.0f), "
      "%.2f of a single look-up (%.0f)%s",
      policies, measured[2].cycles.median, measured[2].cycles.p10, measured[2].cycles.p90, ratio(0),
      measured[0].cycles.median, ratio(1), measured[1].cycles.median,
      together(measured).quiet ? "" : "  (noisy)");
  std::string line = text;
  if (acl != nullptr) line += "  rte_acl " + std::to_string(std::lround(measured[3].cycles.median));
  show(row, options.json, line);
}

}  // namespace
}  // namespace podwire::bench

int main(int argc, char** argv) {
  using namespace podwire::bench;
  namespace po = boost::program_options;
  Options given;
  po::options_description known("verdict: what policy costs a new flow; TSC cycles");
  known.add_options()("help", "this text")(
      "policies", po::value(&given.policies)->multitoken(),
      "of the cluster, 10 at least; default 10 100 1000 10000")(
      "pods", po::value(&given.size.pods)->default_value(given.size.pods),
      "of the cluster; each is an identity")(
      "local", po::value(&given.size.local)->default_value(given.size.local),
      "pods of this node; each has two sets")(
      "acl-rules", po::value(&given.most_acl_rules)->default_value(given.most_acl_rules),
      "leave rte_acl out where it needs more rules")(
      "seconds", po::value(&given.seconds)->default_value(given.seconds), "at most, for each row")(
      "json", po::bool_switch(&given.json), "one JSON object a line");
  if (!read_words("verdict", known, argc, argv)) return 0;
  if (given.policies.empty()) given.policies = {10, 100, 1000, 10'000};
  const ClusterSize& size = given.size;
  if (size.local < kGroupSize || size.local > kMostLocal || size.pods < size.local + kGroupSize ||
      size.pods > 4'000'000) {
    stop("verdict", "--local is 20 to 511, --pods at least 20 more and at most 4000000", 2);
  }
  if (*std::ranges::min_element(given.policies) < kLeastPolicies ||
      *std::ranges::max_element(given.policies) > 1'000'000) {
    stop("verdict", "--policies is 10 to 1000000", 2);
  }
  warn_of_build("verdict");
  start_eal("verdict");
  for (const unsigned policies : given.policies) run(given, policies);
  return 0;
}
