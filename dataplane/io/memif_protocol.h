// The memif protocol, version 2.0, as it stands on the wire and in shared memory. A client owns the
// memory; it describes regions and rings over a SOCK_SEQPACKET socket, one message a packet, file
// descriptors beside them:
//
//   server ── HELLO ─▶ client        client ── INIT, ADD_REGION…, ADD_RING…, CONNECT ─▶ server
//   server ── ACK of each, at last CONNECTED ─▶ client          either ── DISCONNECT ─▶ other
//
// A ring "to server" carries frames from client to server: the client fills buffers and moves head,
// the server takes them and moves tail. In a ring "to client" the client offers empty buffers by
// head; the server fills them and moves tail.
// Source: the public protocol as DPDK's drivers/net/memif/memif.h and libmemif's memif.h define it.
// All numbers are in the machine's byte order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace podwire::io::memif {

inline constexpr std::uint32_t kCookie = 0x3E31F20;
inline constexpr std::uint16_t kVersion = 0x0200;  // 2.0
inline constexpr std::uint8_t kEthernetMode = 0;
inline constexpr unsigned kMaxLog2Size = 14;
inline constexpr std::size_t kNameBytes = 32, kSecretBytes = 24, kReasonBytes = 96;

enum class Type : std::uint16_t {
  none,
  ack,
  hello,
  init,
  add_region,
  add_ring,
  connect,
  connected,
  disconnect,
};

using Name = std::array<char, kNameBytes>;  // zero-padded; without a zero when full

struct [[gnu::packed]] Hello {
  Name name;
  std::uint16_t min_version, max_version;
  std::uint16_t last_region;                               // highest index
  std::uint16_t last_ring_to_client, last_ring_to_server;  // highest index
  std::uint8_t max_log2_size;
};
struct [[gnu::packed]] Init {
  std::uint16_t version;
  std::uint32_t id;
  std::uint8_t mode;
  std::array<char, kSecretBytes> secret;
  Name name;
};
struct [[gnu::packed]] AddRegion {  // with the memory's descriptor
  std::uint16_t index;
  std::uint64_t size;
};
inline constexpr std::uint16_t kRingToServer = 1;  // flag; without it: to the client
struct [[gnu::packed]] AddRing {                   // with an eventfd that its sender writes to
  std::uint16_t flags;
  std::uint16_t index;
  std::uint16_t region;
  std::uint32_t offset;
  std::uint8_t log2_size;
  std::uint16_t private_header_bytes;
};
struct [[gnu::packed]] Connect {  // and connected
  Name interface;
};
struct [[gnu::packed]] Disconnect {
  std::uint32_t code;
  std::array<char, kReasonBytes> reason;
};

struct [[gnu::packed]] alignas(128) Message {
  Type type = Type::none;
  union [[gnu::packed]] {
    std::array<char, 126> bytes{};
    Hello hello;
    Init init;
    AddRegion add_region;
    AddRing add_ring;
    Connect connect;
    Disconnect disconnect;
  };
};
static_assert(sizeof(Message) == 128);

inline constexpr std::uint16_t kMoreFollows = 1;  // descriptor flag: the frame goes on in the next
struct alignas(16) Descriptor {
  std::uint16_t flags;
  std::uint16_t region;
  std::uint32_t length;  // of the frame's part; of an empty buffer: its size
  std::uint32_t offset;
  std::uint32_t metadata;
};
static_assert(sizeof(Descriptor) == 16);

inline constexpr std::uint16_t kMaskInterrupt = 1;  // ring flag: its receiver wants no eventfd
struct Ring {
  std::uint32_t cookie;
  std::uint16_t flags;
  std::uint16_t head;
  std::array<std::uint8_t, 56> reserved1;
  std::uint16_t tail;
  std::array<std::uint8_t, 62> reserved2;
  // 2^log2_size descriptors follow.
};
static_assert(offsetof(Ring, tail) == 64 && sizeof(Ring) == 128);

[[nodiscard]] constexpr std::uint64_t ring_bytes(unsigned log2_size) {
  return sizeof(Ring) + (sizeof(Descriptor) << log2_size);
}

}  // namespace podwire::io::memif
