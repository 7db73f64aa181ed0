// Buffers for tests of drivers: made from bytes and turned back into bytes.
#pragma once

#include <rte_mbuf.h>

#include <memory>
#include <vector>

#include "dataplane/io/call_batch.h"
#include "tests/lib/frame.h"

namespace podwire::test {

struct FreeMbuf {
  void operator()(rte_mbuf* mbuf) const { rte_pktmbuf_free(mbuf); }
};
using Mbuf = std::unique_ptr<rte_mbuf, FreeMbuf>;

// Pools of the shipped sizes; the EAL is started on first use.
rte_mempool& packets();
rte_mempool& large();
// Of both pools.
unsigned pool_buffers_in_use();

// io_uring for this thread; null after saying loudly why there is none.
std::unique_ptr<io::CallBatch> open_batch();

// The bytes, `first` of them in a small buffer and the rest in a large one (0: as many as fit).
Mbuf mbuf_of(const Bytes& bytes, std::size_t first = 0);
Bytes bytes_of_mbuf(const rte_mbuf& mbuf);

// Frames on the wire have Ethernet addresses.
Frame addressed(Frame frame);

}  // namespace podwire::test
