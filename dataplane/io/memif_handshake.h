// The control messages of one memif connection as a state machine: messages in, messages out, at
// the end what both sides share. Sockets and time are memif_service.*'s affair. Every field is the
// peer's and is checked. Memif thread only; a fuzzer drives it too.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/io/descriptor.h"
#include "dataplane/io/memif_memory.h"
#include "dataplane/io/memif_protocol.h"
#include "dataplane/io/memif_rings.h"
#include "dataplane/result.h"

namespace podwire::io {

// A connection whose rings are in use.
struct MemifLink {
  MemifMemory memory;
  struct Receive {
    MemifReceiver queue;
    Descriptor event;  // readable when the peer has sent
  };
  struct Send {
    MemifSender queue;
    Descriptor event;                          // wakes the peer
    std::atomic_flag busy = ATOMIC_FLAG_INIT;  // where workers share a ring
  };
  std::vector<std::unique_ptr<Receive>> receive;  // by the peer's ring index
  std::vector<std::unique_ptr<Send>> send;
};

inline constexpr std::uint32_t kMemifBufferBytes = 2048;  // as DPDK and libmemif have it

struct MemifTerms {
  MemifRole role = MemifRole::server;  // podwire's
  std::uint32_t id = 0;
  std::string secret;                              // empty: none is asked for
  unsigned queues = 1;                             // of each direction, at most; 1 to kMemifQueues
  unsigned log2_ring_size = 10;                    // a client's; a server's highest
  std::uint32_t buffer_bytes = kMemifBufferBytes;  // a client's
};

class MemifHandshake {
 public:
  explicit MemifHandshake(MemifTerms terms);

  struct Outgoing {
    memif::Message message;
    Descriptor passed;  // sent beside it, if any; ours is closed afterwards
  };
  // What is to be sent now, in order; take it out.
  std::deque<Outgoing> outgoing;

  // A message with the descriptors that came beside it. The error ends the connection and says why.
  Result<void> take(const memif::Message& message, std::vector<Descriptor> passed);

  // Once, when the connection stands: what is shared. Null before and afterwards.
  std::unique_ptr<MemifLink> take_link();
  [[nodiscard]] bool connected() const { return state_ == State::connected; }
  // What the peer calls itself; printable.
  [[nodiscard]] const std::string& peer_name() const { return peer_name_; }

  static memif::Message disconnect_message(const std::string& reason);

 private:
  enum class State : std::uint8_t { hello, init, configuring, connecting, connected };
  struct Ring {
    MemifRing ring;
    Descriptor event;
  };
  Result<void> take_as_server(const memif::Message& message, std::vector<Descriptor>& passed);
  Result<void> take_as_client(const memif::Message& message);
  Result<void> take_init(const memif::Init& init);
  Result<void> take_region(const memif::AddRegion& region, const Descriptor& memory);
  Result<void> take_ring(const memif::AddRing& ring, Descriptor event);
  Result<void> take_connect();
  Result<void> take_hello(const memif::Hello& hello);
  Result<void> make_memory(unsigned to_server, unsigned to_client, unsigned log2_size);
  Result<void> add_own_ring(bool to_server, unsigned index, unsigned log2_size, std::uint32_t at,
                            MemifBuffers buffers);
  memif::Message& say(memif::Type type, Descriptor passed = {});

  const MemifTerms terms_;
  State state_;
  std::string peer_name_;
  std::unique_ptr<MemifLink> link_;
  std::vector<Ring> to_server_, to_client_;  // a server's, in the order of their indices
  std::deque<Outgoing> plan_;                // a client's: one for each ACK
};

}  // namespace podwire::io
