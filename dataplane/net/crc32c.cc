#include "dataplane/net/crc32c.h"

#include <nmmintrin.h>

#include <algorithm>
#include <cstring>

#include "dataplane/net/headers.h"

namespace podwire::net {
namespace {

std::uint32_t add(std::uint32_t crc, const std::uint8_t* at, std::size_t length) {
  for (; length >= 8; at += 8, length -= 8) {
    std::uint64_t word;
    std::memcpy(&word, at, 8);
    crc = static_cast<std::uint32_t>(_mm_crc32_u64(crc, word));
  }
  for (; length > 0; ++at, --length) crc = _mm_crc32_u8(crc, *at);
  return crc;
}

}  // namespace

be32 sctp_checksum(const rte_mbuf& mbuf, std::uint32_t offset, std::uint32_t length) noexcept {
  Sctp header;
  std::memcpy(&header, rte_pktmbuf_mtod_offset(&mbuf, const std::uint8_t*, offset), sizeof(Sctp));
  header.checksum = be32{};
  std::uint32_t crc = add(0xffffffff, reinterpret_cast<const std::uint8_t*>(&header), sizeof(Sctp));

  std::uint32_t left = length - static_cast<std::uint32_t>(sizeof(Sctp));
  std::uint32_t at = offset + static_cast<std::uint32_t>(sizeof(Sctp));
  for (const rte_mbuf* segment = &mbuf; segment != nullptr && left > 0; segment = segment->next) {
    const std::uint32_t here =
        at < segment->data_len ? std::min<std::uint32_t>(left, segment->data_len - at) : 0;
    if (here > 0) crc = add(crc, rte_pktmbuf_mtod_offset(segment, const std::uint8_t*, at), here);
    left -= here;
    at = at + here > segment->data_len ? at + here - segment->data_len : 0;
  }
  // The CRC goes out least significant byte first: on this machine, as it stands.
  return be32::from_raw(~crc);
}

}  // namespace podwire::net
