// Fragments of one IP datagram share one flow without being put together: the first fragment's
// ports are remembered and given to the later ones. Later fragments that arrive before the first
// wait for it.
//
// One table per worker: a port hands all fragments of a datagram to one queue. Fixed size: when it
// is full the oldest datagram makes room, so that a flood of incomplete datagrams does not stop
// those that arrive in one go. All work per call is bounded.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/batch.h"
#include "dataplane/verdict.h"

namespace podwire {
struct Worker;
}

namespace podwire::stages {

// A fragment's place in its datagram, RFC 791 section 3.1 and RFC 8200 section 4.5.
struct FragmentPlace {
  std::uint32_t id = 0;      // IPv4 identification or that of the fragment header
  std::uint32_t offset = 0;  // of its first byte, a multiple of 8
  std::uint32_t length = 0;  // payload bytes; a multiple of 8 unless it is the last
  bool more = false;         // more fragments follow
};

class FragmentTable {
 public:
  static constexpr std::uint32_t kAgeLimitSeconds = 30;  // as Linux's net.ipv4.ipfrag_time
  static constexpr unsigned kHeldPackets = 256;
  static constexpr unsigned kHeldPerDatagram = 64;

  explicit FragmentTable(std::uint32_t datagrams);
  ~FragmentTable();  // frees what it holds
  FragmentTable(const FragmentTable&) = delete;
  FragmentTable& operator=(const FragmentTable&) = delete;

  // Records a first fragment (p.first_fragment, ports set); gives a later one its ports, or holds
  // it. A fragment that repeats what came is dropped; one that overlaps takes all that is still to
  // come of its datagram with it (RFC 5722).
  Verdict track(Packet& p, const FragmentPlace& place, Worker& w) noexcept;

  // Appends held packets whose first fragment has come, in order of arrival, while there is room.
  // They go on where parse left them: at track. Returns how many.
  unsigned release(Batch& out, Worker& w) noexcept;

  // Drops what has waited too long. Once a round.
  void age(Worker& w) noexcept;

  [[nodiscard]] unsigned datagrams() const noexcept { return used_; }

 private:
  struct Key {
    net::Address source, destination;
    std::uint32_t id = 0;
    PortId port = 0;  // two ports cannot disturb each other's datagrams
    std::uint8_t protocol = 0, tunnel = 0;
    bool operator==(const Key&) const = default;
  };
  struct Datagram;
  struct Held;
  using Index = std::uint32_t;
  static constexpr Index kNone = 0xffffffff;

  [[nodiscard]] std::uint32_t bucket(const Key& key) const noexcept;
  [[nodiscard]] Index find(const Key& key) const noexcept;
  Index add(const Key& key, Worker& w) noexcept;
  void remove(Index datagram) noexcept;
  void drop_held(Datagram& datagram, Reason reason, Worker& w) noexcept;
  Verdict hold(Datagram& datagram, const Packet& p, Worker& w) noexcept;
  static void give_ports(const Datagram& datagram, Packet& p) noexcept;

  std::vector<Datagram> datagrams_;
  std::vector<Held> held_;
  std::vector<Index> buckets_;
  Index free_ = kNone, free_held_ = kNone;
  Index oldest_ = kNone, newest_ = kNone;                 // by arrival of the first seen fragment
  Index released_first_ = kNone, released_last_ = kNone;  // of held_
  unsigned used_ = 0;
};

}  // namespace podwire::stages
