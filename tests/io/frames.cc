#include "tests/io/frames.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "dataplane/io/mempool.h"
#include "tests/lib/world.h"

namespace podwire::test {
namespace {

io::Pools pools() {
  static const io::Pools made = [] {
    start_eal();
    DataplaneConfig config;
    config.packet_buffers = 2048;
    config.large_buffers = 64;
    auto result = io::make_pools(config);
    if (!result) std::abort();
    return *result;
  }();
  return made;
}

}  // namespace

rte_mempool& packets() {
  return *pools().packets;
}
rte_mempool& large() {
  return *pools().large;
}

unsigned pool_buffers_in_use() {
  return rte_mempool_in_use_count(&packets()) + rte_mempool_in_use_count(&large());
}

std::unique_ptr<io::CallBatch> open_batch() {
  auto opened = io::CallBatch::open();
  if (!opened) {
    std::fprintf(stderr, "\n*** SKIPPED: %s ***\n\n", opened.error().message.c_str());
    return nullptr;
  }
  return std::move(*opened);
}

Mbuf mbuf_of(const Bytes& bytes, std::size_t first) {
  Mbuf head(rte_pktmbuf_alloc(&packets()));
  const std::size_t room = rte_pktmbuf_tailroom(head.get());
  if (first == 0 || first > room) first = room;
  if (first > bytes.size()) first = bytes.size();
  std::memcpy(rte_pktmbuf_append(head.get(), static_cast<std::uint16_t>(first)), bytes.data(),
              first);
  if (first == bytes.size()) return head;
  rte_mbuf* tail = rte_pktmbuf_alloc(&large());
  tail->data_off = 0;
  const std::size_t rest = bytes.size() - first;
  std::memcpy(rte_pktmbuf_append(tail, static_cast<std::uint16_t>(rest)), bytes.data() + first,
              rest);
  if (rte_pktmbuf_chain(head.get(), tail) != 0) std::abort();
  return head;
}

Bytes bytes_of_mbuf(const rte_mbuf& mbuf) {
  Bytes out;
  for (const rte_mbuf* segment = &mbuf; segment != nullptr; segment = segment->next) {
    const auto* start = rte_pktmbuf_mtod(segment, const std::uint8_t*);
    out.insert(out.end(), start, start + segment->data_len);
  }
  return out;
}

Frame addressed(Frame frame) {
  return frame.with_macs(*net::Mac::parse("02:00:00:00:00:01"),
                         *net::Mac::parse("02:00:00:00:00:02"));
}

}  // namespace podwire::test
