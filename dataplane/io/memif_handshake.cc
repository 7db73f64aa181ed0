#include "dataplane/io/memif_handshake.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "dataplane/io/event_signal.h"

namespace podwire::io {
namespace {

using memif::Message;
using memif::Type;

constexpr const char* kOurName = "podwire";
constexpr std::uint32_t kRingAlignment = 16;

// Zero-padded text of a peer; only what can be printed, since it goes to logs.
template <std::size_t N>
std::string text_of(std::array<char, N> field) {
  std::string text;
  for (const char c : field) {
    if (c == '\0') break;
    text += c >= ' ' && c <= '~' ? c : '?';
  }
  return text;
}

template <std::size_t N>
void set_text(std::array<char, N>& field, const std::string& text) {
  field.fill('\0');
  text.copy(field.data(), field.size() - 1);
}

// Takes as long for a wrong secret as for the right one.
bool same_secret(const std::string& wanted, const std::array<char, memif::kSecretBytes>& given) {
  unsigned different = 0;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const char c = i < wanted.size() ? wanted[i] : '\0';
    different |= static_cast<unsigned char>(c) ^ static_cast<unsigned char>(given[i]);
  }
  return different == 0;
}

std::string number(std::uint64_t value) {
  return std::to_string(value);
}

}  // namespace

MemifHandshake::MemifHandshake(MemifTerms terms)
    : terms_(std::move(terms)),
      state_(terms_.role == MemifRole::server ? State::init : State::hello),
      link_(std::make_unique<MemifLink>()) {
  if (terms_.role == MemifRole::client) return;
  memif::Hello& hello = say(Type::hello).hello;
  memif::Name name;
  set_text(name, kOurName);
  hello.name = name;
  hello.min_version = hello.max_version = memif::kVersion;
  hello.last_region = kMemifRegions - 1;
  hello.last_ring_to_client = hello.last_ring_to_server =
      static_cast<std::uint16_t>(terms_.queues - 1);
  hello.max_log2_size = static_cast<std::uint8_t>(terms_.log2_ring_size);
}

Message& MemifHandshake::say(Type type, Descriptor passed) {
  outgoing.push_back({Message{}, std::move(passed)});
  outgoing.back().message.type = type;
  return outgoing.back().message;
}

Message MemifHandshake::disconnect_message(const std::string& reason) {
  Message message;
  message.type = Type::disconnect;
  std::array<char, memif::kReasonBytes> text;
  set_text(text, reason);
  message.disconnect.code = 0;
  message.disconnect.reason = text;
  return message;
}

std::unique_ptr<MemifLink> MemifHandshake::take_link() {
  return state_ == State::connected ? std::move(link_) : nullptr;
}

Result<void> MemifHandshake::take(const Message& message, std::vector<Descriptor> passed) {
  const Type type = message.type;
  const bool brings_one = type == Type::add_region || type == Type::add_ring;
  if (passed.size() != (brings_one ? 1 : 0)) {
    return fail("message " + number(static_cast<unsigned>(type)) + " with " +
                number(passed.size()) + " descriptors");
  }
  if (type == Type::disconnect) {
    return fail("it said goodbye: " + text_of(message.disconnect.reason));
  }
  return terms_.role == MemifRole::server ? take_as_server(message, passed)
                                          : take_as_client(message);
}

// ---- server ----

Result<void> MemifHandshake::take_as_server(const Message& message,
                                            std::vector<Descriptor>& passed) {
  Result<void> done;
  if (state_ == State::init && message.type == Type::init) {
    done = take_init(message.init);
  } else if (state_ == State::configuring && message.type == Type::add_region) {
    done = take_region(message.add_region, passed[0]);
  } else if (state_ == State::configuring && message.type == Type::add_ring) {
    done = take_ring(message.add_ring, std::move(passed[0]));
  } else if (state_ == State::configuring && message.type == Type::connect) {
    return take_connect();
  } else {
    return fail("message " + number(static_cast<unsigned>(message.type)) + " out of turn");
  }
  if (done) say(Type::ack);
  return done;
}

Result<void> MemifHandshake::take_init(const memif::Init& init) {
  const memif::Init copy = init;
  peer_name_ = text_of(copy.name);
  if (copy.version != memif::kVersion) return fail("version " + number(copy.version));
  if (copy.id != terms_.id) return fail("interface id " + number(copy.id));
  if (copy.mode != memif::kEthernetMode) return fail("mode " + number(copy.mode));
  if (!terms_.secret.empty() && !same_secret(terms_.secret, copy.secret)) {
    return fail("wrong secret");
  }
  state_ = State::configuring;
  return {};
}

Result<void> MemifHandshake::take_region(const memif::AddRegion& region, const Descriptor& memory) {
  if (region.index != link_->memory.regions()) {
    return fail("region index " + number(region.index) + " after " +
                number(link_->memory.regions()) + " regions");
  }
  return link_->memory.add(memory.get(), region.size);
}

Result<void> MemifHandshake::take_ring(const memif::AddRing& given, Descriptor event) {
  const memif::AddRing r = given;
  const bool to_server = (r.flags & memif::kRingToServer) != 0;
  std::vector<Ring>& rings = to_server ? to_server_ : to_client_;
  const std::string name =
      std::string("ring ") + (to_server ? "to server " : "to client ") + number(r.index) + ": ";
  if ((r.flags & ~memif::kRingToServer) != 0) return fail(name + "flags " + number(r.flags));
  if (r.index != rings.size() || r.index >= terms_.queues) {
    return fail(name + "index after " + number(rings.size()) + " of at most " +
                number(terms_.queues));
  }
  if (r.log2_size > terms_.log2_ring_size) return fail(name + "log2 size " + number(r.log2_size));
  if (r.private_header_bytes != 0) {
    return fail(name + "private header of " + number(r.private_header_bytes) + " bytes");
  }
  const MemifRegion* region = link_->memory.region(r.region);
  if (region == nullptr) return fail(name + "region " + number(r.region) + " is not there");
  if (r.offset % kRingAlignment != 0 ||
      r.offset + memif::ring_bytes(r.log2_size) > region->bytes()) {
    return fail(name + "offset " + number(r.offset) + " in a region of " + number(region->bytes()) +
                " bytes");
  }
  if (!is_eventfd(event.get())) return fail(name + "its descriptor is no eventfd");
  const MemifRing ring(region->start() + r.offset, r.log2_size);
  if (ring.cookie() != memif::kCookie) return fail(name + "its memory holds no ring");
  rings.push_back({ring, std::move(event)});
  return {};
}

Result<void> MemifHandshake::take_connect() {
  if (to_server_.empty() || to_client_.empty()) return fail("connect without a ring each way");
  memif::Name name;
  set_text(name, kOurName);
  say(Type::connected).connect.interface = name;
  for (Ring& r : to_server_) {
    link_->receive.push_back(std::unique_ptr<MemifLink::Receive>(new MemifLink::Receive{
        MemifReceiver(r.ring, MemifRole::server, {}, link_->memory), std::move(r.event)}));
  }
  for (Ring& r : to_client_) {
    link_->send.push_back(std::unique_ptr<MemifLink::Send>(new MemifLink::Send{
        MemifSender(r.ring, MemifRole::server, {}, link_->memory), std::move(r.event)}));
  }
  state_ = State::connected;
  return {};
}

// ---- client ----

Result<void> MemifHandshake::take_as_client(const Message& message) {
  if (state_ == State::hello && message.type == Type::hello) return take_hello(message.hello);
  if (state_ == State::configuring && message.type == Type::ack) {
    outgoing.push_back(std::move(plan_.front()));
    plan_.pop_front();
    if (plan_.empty()) state_ = State::connecting;
    return {};
  }
  if (state_ == State::connecting && message.type == Type::connected) {
    // Not earlier: DPDK's server sets every index to zero when it connects.
    for (auto& receive : link_->receive) receive->queue.offer_all();
    state_ = State::connected;
    return {};
  }
  return fail("message " + number(static_cast<unsigned>(message.type)) + " out of turn");
}

Result<void> MemifHandshake::take_hello(const memif::Hello& given) {
  const memif::Hello hello = given;
  peer_name_ = text_of(hello.name);
  if (hello.min_version > memif::kVersion || hello.max_version < memif::kVersion) {
    return fail("versions " + number(hello.min_version) + " to " + number(hello.max_version));
  }
  memif::Init& init = say(Type::init).init;
  init.version = memif::kVersion;
  init.id = terms_.id;
  init.mode = memif::kEthernetMode;
  memif::Name name;
  set_text(name, kOurName);
  init.name = name;
  std::array<char, memif::kSecretBytes> secret{};
  terms_.secret.copy(secret.data(), secret.size());
  init.secret = secret;
  const auto rings = [&](unsigned last) { return std::min(terms_.queues, last + 1); };
  const auto log2_size = std::min<unsigned>(terms_.log2_ring_size, hello.max_log2_size);
  auto done =
      make_memory(rings(hello.last_ring_to_server), rings(hello.last_ring_to_client), log2_size);
  if (!done) return done;
  plan_.push_back({});
  plan_.back().message.type = Type::connect;
  plan_.back().message.connect.interface = name;
  state_ = State::configuring;
  return {};
}

// One region: all rings, then every ring's buffers.
Result<void> MemifHandshake::make_memory(unsigned to_server, unsigned to_client,
                                         unsigned log2_size) {
  const unsigned rings = to_server + to_client;
  const std::uint64_t ring = memif::ring_bytes(log2_size);
  const std::uint64_t buffers = std::uint64_t{terms_.buffer_bytes} << log2_size;
  const std::uint64_t bytes = rings * (ring + buffers);
  Descriptor file(memfd_create("podwire-memif", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file || ftruncate(file.get(), static_cast<off_t>(bytes)) != 0 ||
      fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return fail("memory for " + number(rings) + " rings: " + std::strerror(errno));
  }
  if (auto done = link_->memory.add(file.get(), bytes); !done) return done;
  plan_.push_back({Message{}, std::move(file)});
  plan_.back().message.type = Type::add_region;
  plan_.back().message.add_region = {.index = 0, .size = bytes};
  for (unsigned i = 0; i < rings; ++i) {
    const bool up = i < to_server;
    const MemifBuffers own{.region = 0,
                           .offset = static_cast<std::uint32_t>(rings * ring + i * buffers),
                           .bytes = terms_.buffer_bytes};
    auto done = add_own_ring(up, up ? i : i - to_server, log2_size,
                             static_cast<std::uint32_t>(i * ring), own);
    if (!done) return done;
  }
  return {};
}

Result<void> MemifHandshake::add_own_ring(bool to_server, unsigned index, unsigned log2_size,
                                          std::uint32_t at, MemifBuffers own) {
  MemifRing ring(link_->memory.region(0)->start() + at, log2_size);
  ring.initialise();
  Descriptor event(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  Descriptor theirs(event ? fcntl(event.get(), F_DUPFD_CLOEXEC, 0) : -1);
  if (!theirs) return fail(std::string("eventfd: ") + std::strerror(errno));
  plan_.push_back({Message{}, std::move(theirs)});
  plan_.back().message.type = Type::add_ring;
  plan_.back().message.add_ring = {.flags = to_server ? memif::kRingToServer : std::uint16_t{0},
                                   .index = static_cast<std::uint16_t>(index),
                                   .region = 0,
                                   .offset = at,
                                   .log2_size = static_cast<std::uint8_t>(log2_size),
                                   .private_header_bytes = 0};
  if (to_server) {
    link_->send.push_back(std::unique_ptr<MemifLink::Send>(new MemifLink::Send{
        MemifSender(ring, MemifRole::client, own, link_->memory), std::move(event)}));
  } else {
    link_->receive.push_back(std::unique_ptr<MemifLink::Receive>(new MemifLink::Receive{
        MemifReceiver(ring, MemifRole::client, own, link_->memory), std::move(event)}));
  }
  return {};
}

}  // namespace podwire::io
