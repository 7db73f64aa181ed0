#include "control/ipam/addresses.h"

#include <algorithm>
#include <set>
#include <utility>

#include "control/log.h"
#include "control/time_text.h"

namespace podwire::control {
namespace {

using cni::Code;
using cni::Reply;
using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kFirstWait = 500ms, kLongestWait = 30s;
constexpr std::chrono::milliseconds kLeakScan = 60s;
constexpr auto kLeakAge = 5min;

// As Calico's plugin writes it: Go's time.Time.String() in UTC.
std::string timestamp() {
  return format_time(std::chrono::system_clock::now(), "%Y-%m-%d %H:%M:%S +0000 UTC");
}

std::string asker(const kube::Pod* pod) {
  return pod == nullptr ? "" : "Pod " + pod->meta.full_name() + ": ";
}

}  // namespace

struct Addresses::Taking {
  cni::AttachmentName name;
  std::string handle, asker;
  std::vector<BlockIpam::Ask> asks;  // one for each family
  std::vector<net::Address> got;
  Taken taken;
};

Addresses::Addresses(State& state, LoopHooks hooks, Block::Reserved reserved)
    : state_(state),
      hooks_(std::move(hooks)),
      journal_(state.config.state_dir),
      blocks_(
          state.store, state.config.node_name, [this] { return client(); }, std::move(reserved)),
      tunnel_(state, hooks_, blocks_, [this] { return client(); }),
      leaks_(state, blocks_) {}

ObjectClient* Addresses::client() const {
  return state_.object_source == nullptr ? nullptr : state_.object_source->client();
}

void Addresses::follow(const Changes& changes) {
  const bool due = changes.nodes || changes.ip_pools || changes.blocks;
  if (due && has_blocks()) tunnel_.follow();
}

Result<void> Addresses::restore(std::vector<std::string>& problems) {
  if (auto done = journal_.prepare(); !done) return done;
  for (const Journal::Note& note : journal_.read_all(problems)) {
    const bool attached = std::ranges::any_of(state_.attachments, [&](const Attachment& a) {
      return a.container_id == note.name.container_id && a.interface == note.name.interface;
    });
    if (attached) {
      journal_.remove(note.name);
    } else {
      give_back(note.name, note.handle, note.addresses, nullptr);
    }
  }
  watch_leaks();
  return {};
}

bool Addresses::has_blocks() const {
  if (client() == nullptr) return false;
  std::size_t served = 0;
  for (const KindReport& report : state_.object_source->report()) {
    const bool needed =
        report.kind == kube::Kind::ipam_block || report.kind == kube::Kind::block_affinity;
    served += needed && report.served ? 1 : 0;
  }
  return served == 2;
}

bool Addresses::from_blocks() const {
  return has_blocks() && std::ranges::any_of(state_.store.ip_pools, [](const auto& entry) {
           return !entry.second.disabled;
         });
}

std::string Addresses::handle_of(const std::string& network, const cni::AttachmentName& name) {
  const std::string handle = network + "." + name.container_id;
  return name.interface == "eth0" ? handle : handle + "." + name.interface;
}

Result<std::vector<BlockIpam::Ask>> Addresses::fixed_asks(
    const std::vector<net::Address>& addresses, const BlockIpam::Ask& blank) const {
  std::vector<BlockIpam::Ask> asks;
  for (const net::Address& address : addresses) {
    const kube::IpPool* const pool = pool_of(state_.store, address);
    if (pool == nullptr) {
      return fail("address " + address.to_string() + " is in no IPPool that is enabled");
    }
    asks.push_back(blank);
    asks.back().pools = {BlockIpam::Pool(*pool)};
    asks.back().fixed = address;
  }
  return asks;
}

Result<std::vector<BlockIpam::Ask>> Addresses::asks_of(const Ask& ask,
                                                       const std::string& handle) const {
  BlockIpam::Ask blank;
  blank.handle = handle;
  blank.attributes = {{"node", state_.config.node_name}, {"timestamp", timestamp()}};
  if (ask.pod != nullptr) {
    blank.attributes["pod"] = ask.pod->meta.name;
    blank.attributes["namespace"] = ask.pod->meta.ns;
  }
  auto wishes = read_wishes(ask.pod, state_.store);
  if (!wishes) return tl::unexpected(wishes.error());
  const bool of_pod = ask.wanted.empty() && !ask.another_interface;
  const auto& fixed = of_pod ? wishes->addresses : ask.wanted;
  if (!fixed.empty()) {
    auto asks = fixed_asks(fixed, blank);
    return asks ? std::move(asks) : fail(asker(ask.pod) + asks.error().message);
  }
  std::vector<BlockIpam::Ask> asks;
  const std::string name_space = ask.pod == nullptr ? "" : ask.pod->meta.ns;
  for (const net::Family family : {net::Family::v4, net::Family::v6}) {
    const auto pools =
        pools_for(state_.store, state_.config.node_name, name_space, family, *wishes);
    if (!pools) return tl::unexpected(pools.error());
    if (pools->empty()) continue;
    asks.push_back(blank);
    for (const kube::IpPool* pool : *pools) asks.back().pools.emplace_back(*pool);
  }
  if (!asks.empty()) return asks;
  return fail(asker(ask.pod) + "no IPPool is for this pod on node " + state_.config.node_name);
}

void Addresses::take(const Ask& ask, Taken taken) {
  const auto refuse = [&](Code code, const std::string& sentence) {
    taken(tl::unexpected(Reply{code, sentence, nullptr}));
  };
  if (under_way_.contains(ask.name)) {
    return refuse(Code::try_later, "container " + ask.name.container_id +
                                       ": its addresses of before are not all given back yet");
  }
  const auto taking = std::make_shared<Taking>();
  taking->name = ask.name;
  taking->handle = handle_of(ask.network, ask.name);
  taking->asker = asker(ask.pod);
  auto asks = asks_of(ask, taking->handle);
  if (!asks) return refuse(Code::address_refused, asks.error().message);
  taking->asks = std::move(*asks);
  if (const auto noted = journal_.write({ask.name, taking->handle, {}}); !noted) {
    journal_.remove(ask.name);
    return refuse(Code::io, noted.error().message);
  }
  taking->taken = std::move(taken);
  under_way_[ask.name] = taking->handle;
  take_next(taking);
}

void Addresses::take_next(const TakingPtr& taking) {
  if (taking->asks.empty()) {
    under_way_.erase(taking->name);
    return taking->taken(taking->got);
  }
  BlockIpam::Ask ask = std::move(taking->asks.front());
  taking->asks.erase(taking->asks.begin());
  const std::string place = ask.fixed ? "address " + ask.fixed->to_string() + " " : "";
  blocks_.assign(std::move(ask), [this, taking, place](const auto& given) {
    if (given) {
      taking->got.push_back(*given);
      return take_next(taking);
    }
    const BlockIpam::Refusal& refusal = given.error();
    const Code code = refusal.for_good ? Code::address_refused : Code::try_later;
    const Reply reply{code, taking->asker + place + refusal.sentence, nullptr};
    give_back(taking->name, taking->handle, taking->got, nullptr);
    taking->taken(tl::unexpected(reply));
  });
}

void Addresses::settled(const cni::AttachmentName& name) {
  journal_.remove(name);
}

Result<void> Addresses::note(const Attachment& attachment) {
  return journal_.write(
      {{attachment.container_id, attachment.interface}, attachment.handle, attachment.ips});
}

void Addresses::give_back(const cni::AttachmentName& name, const std::string& handle,
                          const std::vector<net::Address>& known, std::function<void()> done) {
  under_way_[name] = handle;
  try_to_free({name, handle, known}, kFirstWait, std::move(done));
}

void Addresses::try_to_free(const Journal::Note& note, std::chrono::milliseconds wait,
                            std::function<void()> done) {
  blocks_.release({note.handle, note.addresses},
                  [this, note, wait, done = std::move(done)](bool freed) {
                    if (freed) {
                      under_way_.erase(note.name);
                      journal_.remove(note.name);
                    } else if (hooks_.later) {
                      hooks_.later(wait, [this, note, wait, alive = std::weak_ptr(alive_)] {
                        if (!alive.expired())
                          try_to_free(note, std::min(2 * wait, kLongestWait), nullptr);
                      });
                    }
                    if (done) done();
                  });
}

void Addresses::watch_leaks() {
  if (!hooks_.later) return;
  hooks_.later(kLeakScan, [this, alive = std::weak_ptr(alive_)] {
    if (alive.expired()) return;
    collect_leaks(kLeakAge);
    if (has_blocks()) tunnel_.follow();  // the server may have them only now
    watch_leaks();
  });
}

void Addresses::collect_leaks(std::chrono::steady_clock::duration age) {
  if (!state_.store.synced || !from_blocks()) return;
  std::set<std::string> in_use;
  for (const Attachment& attachment : state_.attachments) in_use.insert(attachment.handle);
  for (const auto& [name, handle] : under_way_) in_use.insert(handle);
  leaks_.collect(in_use, age);
}

}  // namespace podwire::control
