// Sends the scene's packets through a system and judges what comes back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/versus/traffic/device.h"
#include "bench/versus/traffic/scene.h"

namespace podwire::versus {

struct Outcome {
  std::uint64_t sent = 0, received = 0;
  std::uint64_t wrong = 0;
  std::string fault;   // of the first wrong frame
  double seconds = 0;  // from the first frame sent to the last that came back
};

class Generator {
 public:
  Generator(Device& device, const Scene& scene) : device_(device), scene_(scene) {}

  // One request and one reply of each of these flows, every frame judged thoroughly; what is lost
  // is sent again. `received` is how many flows have had both translated.
  [[nodiscard]] Outcome establish(std::uint32_t flows);
  // Requests of these flows in turn, as many as the system takes.
  [[nodiscard]] Outcome send(std::uint32_t flows, double seconds);
  // The first requests of flows `first` to `first + count - 1`, as fast as the system takes them.
  [[nodiscard]] Outcome open(std::uint32_t first, std::uint32_t count);

 private:
  enum class State : std::uint8_t { fresh, requested, replied };

  bool push(rte_mbuf* frame);
  unsigned pull_established(std::vector<State>& states, Outcome& outcome);
  template <typename Next>
  Outcome stream(Next&& next);
  unsigned pull(Outcome& outcome, std::uint64_t& last);
  void blame(Outcome& outcome, std::uint32_t flow, const char* fault);

  Device& device_;
  const Scene& scene_;
};

}  // namespace podwire::versus
