// Messages of the vhost-user protocol as librte_vhost hands them to a hook before it acts on them,
// and whether it may. What is refused here never reaches the library: it believes sizes and
// offsets, and its handlers of logging, in-flight tracking and the like were the holes of late.
// Sources: QEMU docs/interop/vhost-user.rst; DPDK 22.11 lib/vhost/vhost_user.h, whose layout is
// kept for hooks like this one ("external message handlers rely on them").
//
// The library's own thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace podwire::io {

// What we offer, and nothing else:
//   CSUM, HOST_TSO4/6, HOST_ECN         the guest leaves checksums and segmentation to us
//   GUEST_CSUM, GUEST_TSO4/6, GUEST_ECN  and we to it
//   MRG_RXBUF                           large frames in small buffers
//   MQ, CTRL_VQ                         several queues; QEMU and virtio-user run the control queue
//   VERSION_1, ANY_LAYOUT               the standard's header; header and data in one buffer
//   bit 30                              protocol features
// Not offered: INDIRECT_DESC (a second table to check, CVE-2026-93683), RING_PACKED, IN_ORDER and
// EVENT_IDX (another ring format, or more to check, for little), LOG_ALL (live migration: the log
// is written where the peer says, CVE-2026-86563), IOMMU_PLATFORM, MTU, UFO and USO (podwire cuts
// no datagrams), GUEST_ANNOUNCE.
inline constexpr std::uint64_t kVhostFeatures =
    1ULL << 0 | 1ULL << 1 | 1ULL << 7 | 1ULL << 8 | 1ULL << 9 | 1ULL << 11 | 1ULL << 12 |
    1ULL << 13 | 1ULL << 15 | 1ULL << 17 | 1ULL << 22 | 1ULL << 27 | 1ULL << 30 | 1ULL << 32;
// MQ and REPLY_ACK. Not: LOG_SHMFD, RARP, NET_MTU, SLAVE_REQ and SLAVE_SEND_FD (a second socket on
// which the library waits for the peer), CRYPTO_SESSION, PAGEFAULT (postcopy: faults that the peer
// serves when it likes), CONFIG, HOST_NOTIFIER, INFLIGHT_SHMFD (CVE-2026-86565), STATUS.
inline constexpr std::uint64_t kVhostProtocolFeatures = 1ULL << 0 | 1ULL << 3;

namespace virtio_feature {
inline constexpr std::uint64_t guest_csum = 1ULL << 1, guest_tso4 = 1ULL << 7,
                               guest_tso6 = 1ULL << 8, guest_ecn = 1ULL << 9,
                               mrg_rxbuf = 1ULL << 15, version_1 = 1ULL << 32;
}  // namespace virtio_feature

struct VhostMessage {
  enum Request : std::uint32_t {
    get_features = 1,
    set_features = 2,
    set_owner = 3,
    reset_owner = 4,
    set_mem_table = 5,
    set_vring_num = 8,
    set_vring_addr = 9,
    set_vring_base = 10,
    get_vring_base = 11,
    set_vring_kick = 12,
    set_vring_call = 13,
    set_vring_err = 14,
    get_protocol_features = 15,
    set_protocol_features = 16,
    get_queue_num = 17,
    set_vring_enable = 18,
    set_inflight_fd = 32,  // not negotiated
  };
  static constexpr std::uint32_t kNeedReply = 8;
  static constexpr unsigned kMaxFds = 8;
  struct Region {
    std::uint64_t guest_address, size, user_address, file_offset;
  };
  struct VringState {
    std::uint32_t index, number;
  };
  struct VringAddress {
    std::uint32_t index, flags;
    std::uint64_t descriptors, used, avail, log;
  };
  struct Memory {
    std::uint32_t regions, padding;
    std::array<Region, kMaxFds> region;
  };

  std::uint32_t request;
  std::uint32_t flags;
  std::uint32_t size;  // of the payload
  union __attribute__((packed)) {
    std::uint64_t u64;
    VringState state;
    VringAddress address;
    Memory memory;
    std::array<std::uint8_t, 632> whole;  // as large as the library's largest
  };
  std::array<int, kMaxFds> fds;  // -1 where there is none
  int fd_count;

  void close_fds() noexcept;
} __attribute__((packed));

// Why the message may not pass, in words that follow "the peer "; empty when it may. `queues` are
// the port's pairs. Looks at the descriptors that come with it.
[[nodiscard]] std::string objection(const VhostMessage& message, unsigned queues);

}  // namespace podwire::io
