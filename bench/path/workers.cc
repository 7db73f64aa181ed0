#include "bench/path/workers.h"

#include <rte_pause.h>
#include <sched.h>

#include <atomic>
#include <thread>

#include "bench/lib/record.h"
#include "bench/lib/rte_hash_table.h"
#include "bench/path/node.h"

namespace podwire::bench {
namespace {

cpu_set_t allowed() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) stop("path", "no cores to run on");
  return cores;
}

// Ties the calling thread to the `n`th core of those allowed.
void stay_on(const cpu_set_t& cores, unsigned n) {
  cpu_set_t one;
  CPU_ZERO(&one);
  for (unsigned core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &cores) && n-- == 0) {
      CPU_SET(core, &one);
      break;
    }
  }
  if (sched_setaffinity(0, sizeof(one), &one) != 0) stop("path", "cannot choose a core");
}

// The worker on the other core: passes what a lane has loaded from start() to finish().
class Opponent {
 public:
  explicit Opponent(const cpu_set_t& cores) : thread_([this, cores] { run(cores); }) {}
  ~Opponent() {
    state_.store(State::ended, std::memory_order_release);
    thread_.join();
  }
  Opponent(const Opponent&) = delete;
  Opponent& operator=(const Opponent&) = delete;

  void start(Lane& lane) {
    lane_ = &lane;
    state_.store(State::works, std::memory_order_release);
  }
  void finish() {
    state_.store(State::stops, std::memory_order_release);
    while (state_.load(std::memory_order_acquire) != State::rests) rte_pause();
  }

 private:
  enum class State { rests, works, stops, ended };
  void run(const cpu_set_t& cores) {
    stay_on(cores, 1);
    for (State state = State::rests; state != State::ended;) {
      state = state_.load(std::memory_order_acquire);
      if (state == State::works && lane_->left() > 0) {
        lane_->pass(kBurst);
      } else if (state == State::stops) {
        state_.store(State::rests, std::memory_order_release);
      } else {
        rte_pause();
      }
    }
  }
  std::atomic<State> state_{State::rests};
  Lane* lane_ = nullptr;
  std::thread thread_;
};

// A window of `ours`, during all of which the other worker carries `theirs`: it has twice as many
// packets, starts first and is stopped after.
Subject opposed(Lane& ours, Lane& theirs, Opponent& opponent,
                std::span<const std::uint32_t> sequence) {
  return {[&, sequence] {
            opponent.finish();
            theirs.load(sequence, 2 * kWindow);
            ours.load(sequence);  // last: in this core's caches as when it works alone
            opponent.start(theirs);
          },
          [&] {
            ours.pass(kWindow);
            return std::uint64_t{kWindow};
          }};
}

// The same for what shares nothing with the other worker.
Subject beside(const Subject& bystander, Lane& theirs, Opponent& opponent,
               std::span<const std::uint32_t> sequence) {
  return {[&, sequence, prepare = bystander.prepare] {
            opponent.finish();
            theirs.load(sequence, 2 * kWindow);
            prepare();
            opponent.start(theirs);
          },
          bystander.run};
}

Subject alone(const Subject& subject, Opponent& opponent) {
  return {[&opponent, prepare = subject.prepare] {
            opponent.finish();
            prepare();
          },
          subject.run};
}

Subject both(Lane& there, Lane& back, Opponent& opponent, std::span<const std::uint32_t> sequence) {
  return {[&, sequence] {
            opponent.finish();
            there.load(sequence, kWindow / 2);
            back.load(sequence, kWindow / 2);
          },
          [&] {
            while (there.left() > 0) {
              there.pass(kBurst);
              back.pass(kBurst);
            }
            return std::uint64_t{kWindow};
          }};
}

}  // namespace

bool has_two_cores() {
  const cpu_set_t cores = allowed();
  return CPU_COUNT(&cores) >= 2;
}

TwoWorkers measure_two_workers(const test::FlowCase& c, const test::FlowCase& reply,
                               std::uint32_t flows, std::span<const std::uint32_t> sequence,
                               const Windows& windows) {
  const cpu_set_t cores = allowed();
  Node node(c, flows, 2);
  Lane there(node, c, 0), back(node, reply, 1), back_of_one(node, reply, 0);
  RteHashBaseline bystander(flows, sequence);
  stay_on(cores, 0);
  std::vector<Measured> m;
  {
    Opponent opponent(cores);
    const Subject subjects[] = {both(there, back_of_one, opponent, sequence),
                                opposed(there, back, opponent, sequence),
                                opposed(back, there, opponent, sequence),
                                alone(there.subject(sequence), opponent),
                                alone(back.subject(sequence), opponent),
                                beside(bystander.subject(), there, opponent, sequence),
                                alone(bystander.subject(), opponent)};
    m = alternate(subjects, windows);
    opponent.finish();
  }
  if (sched_setaffinity(0, sizeof(cores), &cores) != 0) stop("path", "cannot leave a core");
  return {m[0], m[1], m[2], m[3], m[4], m[5], m[6]};
}

}  // namespace podwire::bench
