// A memif peer that may say and write anything: messages with descriptors of every kind, then
// rings, descriptors and memory while frames go both ways, and memory that is cut. Nothing crashes,
// what is refused has a sentence, and every buffer comes back.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>

#include "dataplane/io/memif_handshake.h"
#include "tests/fuzz/hostile_peer.h"

namespace podwire::test {
namespace {

using io::memif::Message;
using io::memif::Type;

constexpr std::size_t kRegion = 1U << 16U;
constexpr unsigned kRing = 3;  // log2

class Peer {
 public:
  explicit Peer(bool we_serve)
      : handshake_({.role = we_serve ? io::MemifRole::server : io::MemifRole::client,
                    .queues = 2,
                    .log2_ring_size = kRing}),
        we_serve_(we_serve),
        file_(memfd_create("fuzz", MFD_CLOEXEC)) {
    require(ftruncate(file_.get(), kRegion) == 0, "no memory for a region");
  }

  void act(Input& input) {
    switch (input.byte() % 8) {
      case 0:
        return say(input);
      case 1:
        return shake_hands(input);
      case 2:
        return write_memory(input);
      case 3:
        return receive(input.byte());
      case 4:
        return send(input.byte(), input.take<std::uint16_t>());
      case 5:
        return write_ring(input);
      case 6:
        if (link_ != nullptr) static_cast<void>(link_->receive[0]->queue.rest());
        return;
      default:
        static_cast<void>(ftruncate(file_.get(), input.byte() * 256));
    }
  }

 private:
  void take(const Message& message, std::vector<io::Descriptor> passed) {
    if (over_) return;
    const auto taken = handshake_.take(message, std::move(passed));
    if (!taken) {
      require(!taken.error().message.empty(), "refused without a word");
      over_ = true;
    }
    // A client's memory is what it passes on.
    for (auto& out : handshake_.outgoing) {
      if (out.message.type == Type::add_region) file_ = std::move(out.passed);
    }
    handshake_.outgoing.clear();
    if (auto link = handshake_.take_link()) link_ = std::move(link);
  }

  [[nodiscard]] io::Descriptor copy_of_file() const {
    return io::Descriptor(fcntl(file_.get(), F_DUPFD_CLOEXEC, 0));
  }

  void say(Input& input) {
    Message message;
    message.type = static_cast<Type>(input.byte() % 10);
    const std::uint8_t kinds = input.byte();
    input.copy(reinterpret_cast<std::uint8_t*>(message.bytes.data()), input.byte() % 127);
    std::vector<io::Descriptor> passed;
    for (unsigned i = 0; i < (kinds & 3U); ++i) {
      passed.push_back((kinds & 4U) != 0 ? io::Descriptor(eventfd(0, EFD_CLOEXEC))
                                         : copy_of_file());
    }
    take(message, std::move(passed));
  }

  // The right words, so that the rings are reached; sizes are the input's.
  void shake_hands(Input& input) {
    Message message;
    if (!we_serve_) {
      message.type = Type::hello;
      message.hello = {.name = {},
                       .min_version = io::memif::kVersion,
                       .max_version = io::memif::kVersion,
                       .last_region = 0,
                       .last_ring_to_client = 0,
                       .last_ring_to_server = input.byte(),
                       .max_log2_size = kRing};
      take(message, {});
      message = {};
      message.type = Type::ack;
      for (unsigned i = 0; i < 8 && link_ == nullptr && !over_; ++i) {
        if (i >= 4) message.type = Type::connected;
        take(message, {});
      }
      return;
    }
    message.type = Type::init;
    message.init = {.version = io::memif::kVersion, .id = 0, .mode = 0, .secret = {}, .name = {}};
    take(message, {});
    message = {};
    message.type = Type::add_region;
    message.add_region = {.index = 0, .size = kRegion};
    std::vector<io::Descriptor> memory;
    memory.push_back(copy_of_file());
    take(message, std::move(memory));
    const std::uint32_t cookie = io::memif::kCookie;
    for (const std::uint16_t up : {1, 0}) {
      const std::uint32_t at = up == 1 ? 0 : 4096;
      require(pwrite(file_.get(), &cookie, 4, at) == 4, "the region takes a cookie");
      message = {};
      message.type = Type::add_ring;
      message.add_ring = {.flags = up,
                          .index = 0,
                          .region = 0,
                          .offset = at,
                          .log2_size = kRing,
                          .private_header_bytes = 0};
      std::vector<io::Descriptor> event;
      event.emplace_back(eventfd(0, EFD_CLOEXEC));
      take(message, std::move(event));
    }
    message = {};
    message.type = Type::connect;
    take(message, {});
  }

  void write_memory(Input& input) {
    const auto at = input.take<std::uint16_t>();
    std::array<std::uint8_t, 32> bytes{};
    const std::size_t count = input.byte() % bytes.size();
    input.copy(bytes.data(), count);
    static_cast<void>(!pwrite(file_.get(), bytes.data(), count, at));
  }

  // Where a fuzzer would need long to get by itself: an index, or a descriptor in its place.
  void write_ring(Input& input) {
    const std::uint8_t what = input.byte();
    const unsigned ring = we_serve_ ? 4096 : io::memif::ring_bytes(kRing);
    const unsigned start = (what & 1U) != 0 ? ring : 0;
    if ((what & 2U) != 0) {
      const std::uint16_t index = input.byte();
      static_cast<void>(!pwrite(file_.get(), &index, 2, start + ((what & 4U) != 0 ? 6 : 64)));
      return;
    }
    io::memif::Descriptor d{};
    d.flags = what >> 7U;
    d.region = (what >> 6U) & 1U;
    d.length = input.take<std::uint16_t>();
    d.offset = input.take<std::uint32_t>();
    const unsigned place = (what >> 3U) & 7U;
    static_cast<void>(
        !pwrite(file_.get(), &d, sizeof d, start + sizeof(io::memif::Ring) + place * sizeof d));
  }

  void receive(std::uint8_t most) {
    if (link_ == nullptr || !link_->memory.sound()) return;
    std::array<rte_mbuf*, 64> out;
    const unsigned count = link_->receive[0]->queue.receive(
        std::span(out).first(most % 65U), *pools().packets, *pools().large, missed_);
    for (unsigned i = 0; i < count; ++i) {
      check_received(*out[i]);
      rte_pktmbuf_free(out[i]);
    }
  }

  void send(std::uint8_t count, std::uint16_t length) {
    if (link_ == nullptr) return;
    std::vector<rte_mbuf*> frames;
    for (unsigned i = 0; i < count % 16U; ++i) {
      rte_mbuf* first = rte_pktmbuf_alloc(pools().packets);
      rte_pktmbuf_append(first, std::min<std::uint16_t>(length % 4096U + 14U, io::kPacketBytes));
      if (length % 3 == 0) first->ol_flags = RTE_MBUF_F_TX_UDP_CKSUM;
      frames.push_back(first);
    }
    const unsigned taken = link_->send[0]->queue.send(
        frames, *pools().packets, {.originated = originated_, .unsent = unsent_});
    require(taken <= frames.size(), "more were taken than there were");
    for (std::size_t i = taken; i < frames.size(); ++i) rte_pktmbuf_free(frames[i]);
    static_cast<void>(link_->send[0]->queue.wants_interrupt());
  }

  io::MemifHandshake handshake_;
  const bool we_serve_;
  io::Descriptor file_;
  std::unique_ptr<io::MemifLink> link_;
  bool over_ = false;
  std::atomic<std::uint64_t> missed_{0}, originated_{0}, unsent_{0};
};

}  // namespace
}  // namespace podwire::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace podwire::test;
  const unsigned before = buffers_held();
  {
    Input input(data, size);
    Peer peer(input.byte() % 2 == 0);
    while (!input.empty()) peer.act(input);
  }
  require(buffers_held() == before, "a buffer did not come back");
  require(podwire::io::watched_ranges() == 0, "a region is still watched");
  return 0;
}
