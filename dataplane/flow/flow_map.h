// The flow table of one family, shared by all workers. See flow/README.md for the layout and why.
//
// Contract: any thread may find, insert, touch and erase at the same time. An entry is complete
// before it can be found. A slot is reused only after every worker has passed a quiescent point
// since its erasure, so a Flow* stays readable until the caller's next report. Slots never move:
// the slot number is the flow's id.
#pragma once

#include <cstdint>

#include "dataplane/config.h"
#include "dataplane/flow/flow.h"
#include "dataplane/tables/quiescence.h"

namespace podwire::flow {

enum class Outcome : std::uint8_t {
  inserted,
  exists,  // another worker (or an earlier packet) was first: `flow` is the winner's forward entry
  reply_taken,  // the reply key belongs to another connection: choose another source port
  full,         // at the limit, and nothing half-open could make room
};

template <typename F>
class FlowMap {
 public:
  using Key = typename F::Key;

  FlowMap(std::uint32_t connections, const FlowTimeouts& timeouts, tables::Quiescence& quiescence);
  ~FlowMap();

  // The three steps of a look-up, so that a batch overlaps its cache misses: hash and prefetch the
  // tags; from the tags a candidate slot, whose entry is prefetched; the entry itself.
  [[nodiscard]] std::uint32_t hash(const Key& key) const noexcept;
  void prefetch(std::uint32_t hash) const noexcept;
  [[nodiscard]] std::uint32_t hint(std::uint32_t hash) const noexcept;
  // Null when there is none. The hint may be stale or kNoSlot; it only saves time.
  [[nodiscard]] Flow<F>* find(const Key& key, std::uint32_t hash, std::uint32_t hint) noexcept;
  [[nodiscard]] Flow<F>* find(const Key& key) noexcept;
  [[nodiscard]] Flow<F>& at(SlotId slot) noexcept;

  struct Inserted {
    Outcome outcome;
    Flow<F>* flow;  // null for reply_taken and full
  };
  // Enters both directions, the reply first. Bounded work at any fill.
  Inserted insert(const NewFlow<F>& flow, std::uint32_t now_seconds) noexcept;

  // A packet of the flow passed: counts it, keeps the flow alive and moves its state on.
  // `tcp_flags` for TCP, the first chunk's type for SCTP, else 0. Writes shared lines only when the
  // state changes, and the age at most once a second.
  void passed(Flow<F>& flow, std::uint32_t length, std::uint8_t protocol, std::uint8_t flags,
              std::uint32_t now_seconds) noexcept;

  // Ends both directions. Idempotent.
  void erase(Flow<F>& flow) noexcept;

  // Ageing: looks at up to `groups` groups from where the last call of this part stopped; part of
  // parts. Returns how many connections expired.
  unsigned sweep(unsigned part, unsigned parts, unsigned groups,
                 std::uint32_t now_seconds) noexcept;

  // Connections in the table, and the limit. Any thread.
  [[nodiscard]] std::uint32_t size() const noexcept;
  [[nodiscard]] std::uint32_t limit() const noexcept;

  // f(SlotId, Flow<F>&) for every forward entry. Not while other threads' erased slots may be
  // reused: the caller is online in the quiescence domain, or is the control thread between begin()
  // and passed().
  template <typename Visit>
  void for_each(Visit&& visit);
};

}  // namespace podwire::flow
