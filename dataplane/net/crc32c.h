// SCTP's checksum: CRC32c over the whole packet with the checksum field taken as zero (RFC 9260
// section 6.8 and appendix A). Plain function, usable from any thread.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

#include "dataplane/net/big_endian.h"

namespace podwire::net {

// Of the `length` bytes from `offset` of the buffer's data, an SCTP packet; it may span segments,
// its common header may not.
[[nodiscard]] be32 sctp_checksum(const rte_mbuf& mbuf, std::uint32_t offset,
                                 std::uint32_t length) noexcept;

}  // namespace podwire::net
