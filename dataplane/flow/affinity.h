// ClientIP session affinity: which backend a client of a Service port was given last.
// Shared by all workers, lock-free, bounded: when full, the entry nearest its end makes room.
// Source: Kubernetes service.spec.sessionAffinity; any frontend of the Service port shares the
// entry.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/net/address.h"

namespace podwire::flow {

class AffinityTable {
 public:
  struct Backend {
    net::Address address;
    net::be16 port;
  };

  explicit AffinityTable(std::uint32_t entries);
  ~AffinityTable();

  // The backend of the client's last new flow, if that was at most `timeout_seconds` ago. The
  // caller checks that it is still in use. Any worker.
  [[nodiscard]] std::optional<Backend> find(std::uint32_t service_id, const net::Address& client,
                                            std::uint32_t now_seconds,
                                            std::uint32_t timeout_seconds) const noexcept;
  // Remembers, or refreshes. Any worker.
  void set(std::uint32_t service_id, const net::Address& client, const Backend& backend,
           std::uint32_t now_seconds) noexcept;

 private:
  struct Implementation;
  Implementation* table_;
};

}  // namespace podwire::flow
