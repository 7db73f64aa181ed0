// What pods with a limit may send and receive. Here and not in a stage: it is asked once a frame,
// of frames and not of packets, and of no frame on a node without limits.
#include "dataplane/io/frame_layout.h"
#include "dataplane/worker.h"

namespace podwire {
namespace {

// As Linux counts (net/core/dev.c, qdisc_pkt_len_init): a frame that is cut later counts the
// headers of each segment.
std::uint32_t bytes_on_wire(const rte_mbuf& frame) noexcept {
  if ((frame.ol_flags & RTE_MBUF_F_TX_TCP_SEG) == 0 || frame.tso_segsz == 0) return frame.pkt_len;
  const auto layout = io::layout_of(frame);
  if (!layout || frame.pkt_len <= layout->payload) return frame.pkt_len;
  const std::uint32_t more = (frame.pkt_len - layout->payload - 1) / frame.tso_segsz;
  return frame.pkt_len + more * layout->payload;
}

}  // namespace

// Frames that another worker handed over have been asked about where they were received.
void Worker::police_received(Burst& burst) noexcept {
  PortId last_port = kNoPort;
  tables::RateLimit* last_limit = nullptr;
  burst.keep_if([&](rte_mbuf* mbuf, const Burst::Run& run) {
    if (run.handed) return true;
    if (run.in_port != last_port) {
      const tables::PortInfo* info = snapshot->ports->find(run.in_port);
      last_port = run.in_port;
      last_limit =
          info == nullptr || info->limits == nullptr ? nullptr : info->limits->from_pod.get();
    }
    if (last_limit == nullptr || last_limit->admit(bytes_on_wire(*mbuf), now_cycles)) return true;
    counters.received.add();
    counters.ports[run.in_port].rx_packets.add();
    counters.ports[run.in_port].rx_bytes.add(mbuf->pkt_len);
    drop(mbuf, Reason::bandwidth_egress, run.in_port);
    return false;
  });
}

void Worker::police_outbox(Outbox& outbox, PortId port, tables::RateLimit& limit) noexcept {
  unsigned kept = 0;
  for (unsigned i = 0; i < outbox.size; ++i) {
    rte_mbuf* mbuf = outbox.frames[i];
    if (limit.admit(bytes_on_wire(*mbuf), now_cycles)) {
      outbox.frames[kept++] = mbuf;
      continue;
    }
    outbox.bytes -= mbuf->pkt_len;
    rte_pktmbuf_free(mbuf);
    count_drop(Reason::bandwidth_ingress);
    counters.ports[port].tx_drops.add();
  }
  outbox.size = kept;
}

}  // namespace podwire
