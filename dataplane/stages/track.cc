#include "dataplane/stages/track.h"

#include "dataplane/stages/icmp_quote.h"

namespace podwire::stages {
namespace {

// Errors about packets that no flow knows: those we make before a flow exists (a refused Service),
// and those of the node itself, which were never translated.
bool passes_unmatched(const Packet& p, const Worker& w) {
  switch (p.source) {
    case Source::self:
    case Source::host:
      return true;
    case Source::uplink:
      return w.snapshot->is_own_address(p.destination_address());
    case Source::pod:
    case Source::tunnel:
      return false;
  }
  return false;
}

// The error travels against the packet that it quotes, and meets us on the side where that packet
// left us: the quoted tuple, reversed, is the key of the flow's direction that the error takes.
template <typename F>
flow::Flow<F>* find_flow(const Packet& p, Worker& w) {
  const auto quote = quote_of(p);
  if (!quote) return nullptr;
  const auto key = reversed(quote->key<F>());
  // It must be addressed to the sender of what it quotes.
  if (!(key_of<F>(p).destination == key.destination)) return nullptr;
  return w.shared.flows->map<F>().find(key);
}

constexpr std::uint8_t kRedirect = 5;  // RFC 792; only hosts heed it, and only their router's

}  // namespace

Verdict Track::find_quoted(Packet& p, Worker& w) noexcept {
  p.icmp_error = true;
  const bool redirect = p.protocol == net::protocol::icmp && *p.l4() == kRedirect;
  if (!redirect) {
    by_family(p, [&]<typename F>(F) {
      auto* flow = find_flow<F>(p, w);
      p.flow = flow;
      p.reply = flow != nullptr && flow->is_reply;
    });
  }
  if (p.flow != nullptr || passes_unmatched(p, w)) return Verdict::next();
  return Verdict::drop(Reason::icmp_untracked);
}

}  // namespace podwire::stages
