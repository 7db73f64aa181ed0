#include "bench/path/frames.h"

#include <cstring>

#include "bench/lib/record.h"
#include "tests/packet/flow_cases.h"

namespace podwire::bench {
namespace {

using test::kFirstClientPort;
using test::kFlowsPerService;

std::uint16_t read16(const std::uint8_t* at) {
  return static_cast<std::uint16_t>(at[0] << 8U | at[1]);
}
void write16(std::uint8_t* at, std::uint16_t value) {
  at[0] = static_cast<std::uint8_t>(value >> 8U);
  at[1] = static_cast<std::uint8_t>(value);
}

}  // namespace

void mend_checksum(std::uint8_t* at, std::uint16_t from, std::uint16_t to) {
  std::uint32_t sum = static_cast<std::uint16_t>(~read16(at));
  sum += static_cast<std::uint16_t>(~from);
  sum += to;
  sum = (sum & 0xffffU) + (sum >> 16U);
  sum = (sum & 0xffffU) + (sum >> 16U);
  write16(at, static_cast<std::uint16_t>(~sum));
}

Frames::Frames(const std::function<test::Bytes(std::uint32_t)>& exact, std::uint32_t flows)
    : size_(exact(0).size()) {
  for (std::uint32_t first = 0; first < flows; first += kFlowsPerService) {
    const test::Bytes bytes = exact(first);
    if (bytes.size() != size_) stop("path", "frames of one case have different sizes");
    templates_.insert(templates_.end(), bytes.begin(), bytes.end());
  }
  find_fields();
  test::Bytes made(size_);
  for (std::uint32_t first = 0; first < flows; first += kFlowsPerService) {
    const std::uint32_t last = std::min(flows - 1, first + kFlowsPerService - 1);
    for (std::uint32_t i = first; i <= last; i += 997) {
      for (const std::uint32_t flow : {i, last}) {
        write(flow, made.data());
        if (made != exact(flow)) {
          stop("path", "frame " + std::to_string(flow) + " is made wrongly:\n" + test::hex(made) +
                           "\nexpected\n" + test::hex(exact(flow)));
        }
      }
    }
  }
}

// Where the client's port and the transport's checksum stand.
void Frames::find_fields() {
  const std::uint8_t* frame = templates_.data();
  constexpr std::uint8_t kUdp = 17, kIpip = 4;
  std::size_t l4 = 14 + 40;
  std::uint8_t protocol = frame[14 + 6];
  if (frame[14] >> 4U == 4) {
    std::size_t l3 = 14;
    if (frame[l3 + 9] == kIpip) l3 += 20;
    protocol = frame[l3 + 9];
    l4 = l3 + 20;
  }
  udp_ = protocol == kUdp;
  checksum_at_ = l4 + (udp_ ? 6 : 16);
  port_at_ = read16(frame + l4) == kFirstClientPort ? l4 : l4 + 2;
}

void Frames::write(std::uint32_t flow, std::uint8_t* to) const {
  std::memcpy(to, templates_.data() + flow / kFlowsPerService * size_, size_);
  const auto port = static_cast<std::uint16_t>(kFirstClientPort + flow % kFlowsPerService);
  if (port == kFirstClientPort) return;
  write16(to + port_at_, port);
  mend_checksum(to + checksum_at_, kFirstClientPort, port);
  // 0 would say that there is none (RFC 768).
  if (udp_ && read16(to + checksum_at_) == 0) write16(to + checksum_at_, 0xffff);
}

}  // namespace podwire::bench
