#include "control/ipam/block_ipam.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "control/ipam/block_turn.h"
#include "control/time_text.h"

namespace podwire::control {
namespace {

using nlohmann::json;
using Affinity = kube::BlockAffinity::State;

std::string state_of(const json& affinity) {
  return affinity.value("/spec/state"_json_pointer, "");
}

bool is_marked_deleted(const json& object) {
  const json mark = object.value("/spec/deleted"_json_pointer, json(false));
  return mark == json(true) || mark == json("true");
}

// Blocks of a pool are numbered from its first on; of more than 2^20 the first 2^20 are used, so
// that a walk over them does not hold up the control thread.
std::uint64_t blocks_in(const BlockIpam::Pool& pool) {
  return std::uint64_t{1} << std::min(pool.block_size - pool.cidr.length, 20);
}

net::Prefix nth_block(const BlockIpam::Pool& pool, std::uint64_t number) {
  const unsigned host_bits = (pool.cidr.address.is_v4() ? 32U : 128U) - pool.block_size;
  std::uint64_t offset = number << host_bits;
  net::Address address = pool.cidr.address;
  for (unsigned i = 15; offset != 0; --i, offset >>= 8) {
    address.bytes[i] = static_cast<std::uint8_t>(address.bytes[i] | (offset & 0xff));
  }
  return {address, pool.block_size};
}

// FNV-1: where a node begins to look for blocks, so that nodes begin at different places.
std::uint32_t hash_of(const std::string& node) {
  std::uint32_t hash = 2166136261U;
  for (const char c : node) hash = (hash * 16777619U) ^ static_cast<std::uint8_t>(c);
  return hash;
}

std::uint64_t nanoseconds_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

bool same_pools(const BlockIpam::Ask& a, const BlockIpam::Ask& b) {
  return std::ranges::equal(a.pools, b.pools, {}, &BlockIpam::Pool::name, &BlockIpam::Pool::name);
}

}  // namespace

// ---- one after the other

void BlockIpam::assign(Ask ask, Given given) {
  waiters_.push_back({std::move(ask), std::move(given), std::nullopt});
  pump();
}

void BlockIpam::pump() {
  if (busy_) return;
  if (!freeings_.empty()) {
    busy_ = true;
    const FreeingPtr freeing = std::move(freeings_.front());
    freeings_.pop_front();
    return free_handle(freeing);
  }
  if (waiters_.empty() && !disownings_.empty()) {
    busy_ = true;
    const DisowningPtr disowning = std::move(disownings_.front());
    disownings_.pop_front();
    return disown_now(disowning);
  }
  if (waiters_.empty()) return;
  busy_ = true;
  const auto turn = std::make_shared<Turn>();
  turn->waiters.push_back(std::move(waiters_.front()));
  waiters_.pop_front();
  std::erase_if(waiters_, [&](Waiter& waiter) {
    const Ask& first = turn->waiters.front().ask;
    if (first.fixed || waiter.ask.fixed || !same_pools(first, waiter.ask)) return false;
    turn->waiters.push_back(std::move(waiter));
    return true;
  });
  next_block(turn);
}

void BlockIpam::finished() {
  busy_ = false;
  pump();
}

ObjectClient::Done BlockIpam::call(const TurnPtr& turn, Then then) {
  return [this, turn, then, alive = std::weak_ptr(alive_)](Answer answer) {
    if (!alive.expired()) (this->*then)(turn, std::move(answer));
  };
}

void BlockIpam::refuse_all(const TurnPtr& turn, const Refusal& refusal) {
  const auto waiters = std::move(turn->waiters);
  for (const Waiter& waiter : waiters) {
    if (!waiter.answered) waiter.given(tl::unexpected(refusal));
  }
  finished();
}

bool BlockIpam::tried_too_often(const TurnPtr& turn) {
  if (++turn->tries <= kMostTries) return false;
  refuse_all(turn, {false, "other nodes write the same blocks all the time; gave up after " +
                               std::to_string(kMostTries) + " tries"});
  return true;
}

bool BlockIpam::is_reserved(const net::Address& address) const {
  if (reserved_(address)) return true;
  const auto holds = [&](const net::Prefix& cidr) { return cidr.contains(address); };
  return std::ranges::any_of(store_.ip_reservations, [&](const auto& reservation) {
    return std::ranges::any_of(reservation.second.cidrs, holds);
  });
}

// ---- which block

std::optional<net::Prefix> BlockIpam::own_block(const Turn& turn, bool confirmed) const {
  std::set<net::Prefix> own;
  for (const auto& [name, affinity] : store_.block_affinities) {
    if (affinity.node != node_) continue;
    const bool now = affinity.state == Affinity::confirmed && !affinity.deleted;
    if (now == confirmed && (confirmed || !own_.contains(affinity.cidr))) own.insert(affinity.cidr);
  }
  if (confirmed) own.insert(own_.begin(), own_.end());
  for (const Pool& pool : turn.pools()) {
    for (const net::Prefix& cidr : own) {
      const bool passed = turn.tried.contains(cidr) || (!confirmed && turn.claimed.contains(cidr));
      if (!passed && pool.cidr.contains(cidr) && cidr.length == pool.block_size) return cidr;
    }
  }
  return std::nullopt;
}

std::optional<net::Prefix> BlockIpam::unclaimed_block(const Turn& turn) const {
  std::set<net::Prefix> known = turn.claimed;
  known.insert(own_.begin(), own_.end());
  for (const auto& [name, block] : store_.ipam_blocks) known.insert(block.cidr);
  const auto is_reserved_whole = [&](const net::Prefix& cidr) {
    return std::ranges::any_of(store_.ip_reservations, [&](const auto& reservation) {
      return std::ranges::any_of(reservation.second.cidrs,
                                 [&](const net::Prefix& range) { return range.contains(cidr); });
    });
  };
  for (const Pool& pool : turn.pools()) {
    if (is_reserved_whole(pool.cidr)) continue;
    const std::uint64_t count = blocks_in(pool);
    const std::uint64_t first = hash_of(node_) % count;
    for (std::uint64_t i = 0; i < count; ++i) {
      const net::Prefix cidr = nth_block(pool, (first + i) % count);
      if (!known.contains(cidr) && !is_reserved_whole(cidr)) return cidr;
    }
  }
  return std::nullopt;
}

std::optional<net::Prefix> BlockIpam::foreign_block(const Turn& turn) const {
  for (const Pool& pool : turn.pools()) {
    for (const auto& [name, block] : store_.ipam_blocks) {
      const bool fits = !block.deleted && block.free > 0 && !turn.tried.contains(block.cidr) &&
                        pool.cidr.contains(block.cidr);
      if (fits) return block.cidr;
    }
  }
  return std::nullopt;
}

bool BlockIpam::strict() const {
  const auto config = store_.ipam_configs.find("default");
  return config != store_.ipam_configs.end() && config->second.strict_affinity;
}

bool BlockIpam::may_claim() const {
  std::set<net::Prefix> own = own_;
  for (const auto& [name, affinity] : store_.block_affinities) {
    if (affinity.node == node_ && !affinity.deleted) own.insert(affinity.cidr);
  }
  std::uint32_t most = kube::kBlocksPerHost;
  if (const auto config = store_.ipam_configs.find("default");
      config != store_.ipam_configs.end()) {
    if (!config->second.allocate_blocks) return false;
    if (config->second.blocks_per_host != 0) most = config->second.blocks_per_host;
  }
  return own.size() < most;
}

void BlockIpam::next_block(const TurnPtr& turn) {
  const auto answered = [](const Waiter& waiter) { return waiter.answered; };
  if (std::ranges::all_of(turn->waiters, answered)) return finished();
  if (client_() == nullptr) return refuse_all(turn, Refusal{false, "no API server is there"});
  if (const auto& fixed = turn->fixed()) {
    const auto cidr = net::Prefix::around(*fixed, turn->pools()[0].block_size);
    if (!turn->tried.contains(cidr)) return use_block(turn, cidr);
    return refuse_all(turn, {true, "its block " + cidr.to_string() + " cannot be used"});
  }
  if (const auto cidr = own_block(*turn, true)) return use_block(turn, *cidr);
  if (const auto cidr = own_block(*turn, false)) return claim(turn, *cidr);
  if (may_claim()) {
    if (const auto cidr = unclaimed_block(*turn)) return claim(turn, *cidr);
  }
  if (!strict()) {
    if (const auto cidr = foreign_block(*turn)) return use_block(turn, *cidr);
  }
  std::string names;
  for (const Pool& pool : turn->pools()) names += (names.empty() ? "" : ", ") + pool.name;
  refuse_all(turn, {false, "no free address is left for node " + node_ + " in IPPool " + names});
}

// ---- addresses of a block

void BlockIpam::use_block(const TurnPtr& turn, const net::Prefix& cidr) {
  turn->cidr = cidr;
  client_()->get(kIpamBlock, block_name(cidr), call(turn, &BlockIpam::block_read));
}

void BlockIpam::block_read(const TurnPtr& turn, Answer answer) {
  const net::Prefix& cidr = turn->cidr;
  const bool absent = is_failure(answer, Why::absent) || (answer && is_marked_deleted(*answer));
  if (!answer && !absent) return refuse_all(turn, answer.error());
  if (absent) {
    own_.erase(cidr);
    if (!turn->claimed.contains(cidr)) return claim(turn, cidr);
    turn->tried.insert(cidr);
    return next_block(turn);
  }
  auto block = Block::read(std::move(*answer));
  if (!block) {
    // Others may do.
    if (turn->fixed()) return refuse_all(turn, {false, block.error().message});
    turn->tried.insert(cidr);
    return next_block(turn);
  }
  if (block->node() != node_ && strict()) {
    if (turn->fixed()) {
      return refuse_all(turn, {true, "is in a block of node " + block->node() +
                                         ", and IPAMConfig default: strictAffinity is true"});
    }
    own_.erase(cidr);
    turn->tried.insert(cidr);
    return next_block(turn);
  }
  place(turn, std::move(*block));
}

void BlockIpam::place(const TurnPtr& turn, Block block) {
  turn->chosen.clear();
  turn->given.clear();
  for (std::size_t i = 0; i < turn->waiters.size(); ++i) {
    const Waiter& waiter = turn->waiters[i];
    if (waiter.answered) continue;
    std::optional<net::Address> given = waiter.ask.fixed;
    if (given) {
      const auto holder = block.handle_of(*given);
      if (holder || is_reserved(*given)) {
        return refuse_all(turn, {true, holder ? "is taken by " + *holder : "is reserved"});
      }
      block.assign(*given, waiter.ask.handle, waiter.ask.attributes);
    } else {
      given = block.assign(waiter.ask.handle, waiter.ask.attributes,
                           [this](const net::Address& a) { return is_reserved(a); });
    }
    if (!given) break;
    turn->chosen.push_back(i);
    turn->given.push_back(*given);
  }
  if (turn->chosen.empty()) {
    turn->tried.insert(turn->cidr);
    return next_block(turn);
  }
  turn->block = std::move(block);
  turn->counted_all = true;
  turn->counting = turn->chosen.size() + 1;  // one for the loop
  for (const std::size_t which : turn->chosen) count_handle(turn, which);
  handle_counted(turn, turn->waiters.size(), json());
}

// The handle first: a crash leaves one that counts too much, never an address nobody looks for.
void BlockIpam::count_handle(const TurnPtr& turn, std::size_t which) {
  Waiter& waiter = turn->waiters[which];
  if (waiter.counted == turn->cidr) return handle_counted(turn, which, json());
  add_to_handle(turn, which, new_handle(waiter.ask.handle));
}

void BlockIpam::add_to_handle(const TurnPtr& turn, std::size_t which, json handle) {
  json& blocks = handle["spec"]["block"];
  if (!blocks.is_object()) blocks = json::object();
  json& count = blocks[turn->cidr.to_string()];
  count = count.is_number_integer() ? count.get<std::int64_t>() + 1 : 1;
  handle["spec"]["deleted"] = false;
  const bool is_new = !handle["metadata"].contains("resourceVersion");
  const auto done = [this, turn, which, is_new, alive = std::weak_ptr(alive_)](Answer answer) {
    if (alive.expired()) return;
    const bool again = is_failure(answer, Why::conflict) || is_failure(answer, Why::absent);
    if (!again || ++turn->tries > kMostTries) return handle_counted(turn, which, std::move(answer));
    if (!is_new) return count_handle(turn, which);
    const std::string name = new_handle(turn->waiters[which].ask.handle)["metadata"]["name"];
    client_()->get(kIpamHandle, name, [this, turn, which, alive](Answer found) {
      if (alive.expired()) return;
      if (is_failure(found, Why::absent)) return count_handle(turn, which);
      if (!found) return handle_counted(turn, which, std::move(found));
      add_to_handle(turn, which, std::move(*found));
    });
  };
  is_new ? client_()->create(kIpamHandle, handle, done)
         : client_()->replace(kIpamHandle, handle, done);
}

void BlockIpam::handle_counted(const TurnPtr& turn, std::size_t which, Answer answer) {
  if (which < turn->waiters.size()) {
    Waiter& waiter = turn->waiters[which];
    if (answer) {
      waiter.counted = turn->cidr;
    } else {
      turn->counted_all = false;
      waiter.answered = true;
      waiter.given(tl::unexpected(Refusal{false, answer.error().sentence}));
    }
  }
  if (--turn->counting > 0) return;
  // What was assigned to one who is refused must not be written.
  if (!turn->counted_all) return next_block(turn);
  client_()->replace(kIpamBlock, turn->block->changed(), call(turn, &BlockIpam::block_written));
}

void BlockIpam::block_written(const TurnPtr& turn, Answer answer) {
  turn->block.reset();
  if (is_failure(answer, Why::conflict) || is_failure(answer, Why::absent)) {
    if (!tried_too_often(turn)) use_block(turn, turn->cidr);
    return;
  }
  if (!answer) return refuse_all(turn, answer.error());
  for (std::size_t i = 0; i < turn->chosen.size(); ++i) {
    Waiter& waiter = turn->waiters[turn->chosen[i]];
    waiter.answered = true;
    waiter.given(turn->given[i]);
  }
  next_block(turn);
}

// ---- a block of our own

void BlockIpam::claim(const TurnPtr& turn, const net::Prefix& cidr) {
  turn->cidr = cidr;
  turn->claimed.insert(cidr);
  client_()->create(kBlockAffinity, new_affinity(node_, cidr),
                    call(turn, &BlockIpam::affinity_made));
}

void BlockIpam::affinity_made(const TurnPtr& turn, Answer answer) {
  if (is_failure(answer, Why::conflict)) {
    return client_()->get(kBlockAffinity, affinity_name(node_, turn->cidr),
                          call(turn, &BlockIpam::affinity_read));
  }
  affinity_pending(turn, std::move(answer));
}

void BlockIpam::affinity_read(const TurnPtr& turn, Answer answer) {
  if (is_failure(answer, Why::absent)) return claim_again(turn, std::move(answer));
  if (!answer) return refuse_all(turn, answer.error());
  if (is_marked_deleted(*answer)) {
    return client_()->remove(kBlockAffinity, *answer, call(turn, &BlockIpam::claim_again));
  }
  if (state_of(*answer) == "confirmed" || state_of(*answer) == "pending") {
    return affinity_pending(turn, std::move(answer));
  }
  (*answer)["spec"]["state"] = "pending";
  client_()->replace(kBlockAffinity, *answer, call(turn, &BlockIpam::affinity_pending));
}

void BlockIpam::claim_again(const TurnPtr& turn, Answer /*answer*/) {
  if (!tried_too_often(turn)) claim(turn, turn->cidr);
}

void BlockIpam::affinity_pending(const TurnPtr& turn, Answer answer) {
  if (is_failure(answer, Why::conflict) || is_failure(answer, Why::absent)) {
    return claim_again(turn, std::move(answer));
  }
  if (!answer) return refuse_all(turn, answer.error());
  turn->affinity = std::move(*answer);
  make_block(turn);
}

void BlockIpam::make_block(const TurnPtr& turn) {
  const Block block = Block::fresh(turn->cidr, node_, nanoseconds_now(),
                                   format_time(std::chrono::system_clock::now()));
  client_()->create(kIpamBlock, block.object(), call(turn, &BlockIpam::block_made));
}

void BlockIpam::block_made(const TurnPtr& turn, Answer answer) {
  if (is_failure(answer, Why::conflict)) {
    return client_()->get(kIpamBlock, block_name(turn->cidr), call(turn, &BlockIpam::rival_read));
  }
  if (!answer) return refuse_all(turn, answer.error());
  confirm(turn);
}

// The block is there already.
void BlockIpam::rival_read(const TurnPtr& turn, Answer answer) {
  if (is_failure(answer, Why::absent)) {
    if (!tried_too_often(turn)) make_block(turn);
    return;
  }
  if (!answer) return refuse_all(turn, answer.error());
  if (is_marked_deleted(*answer)) {  // by one who was cut off before its end
    return client_()->remove(kIpamBlock, *answer, call(turn, &BlockIpam::claim_again));
  }
  const auto block = Block::read(std::move(*answer));
  if (block && block->node() == node_) return confirm(turn);
  // Somebody else's: our affinity would only be in the way.
  client_()->remove(kBlockAffinity, turn->affinity, call(turn, &BlockIpam::give_up_block));
}

void BlockIpam::give_up_block(const TurnPtr& turn, Answer /*answer*/) {
  // It may lend an address all the same: a fixed one, or when no block is left to claim.
  next_block(turn);
}

void BlockIpam::confirm(const TurnPtr& turn) {
  if (state_of(turn->affinity) == "confirmed") return confirmed(turn, turn->affinity);
  turn->affinity["spec"]["state"] = "confirmed";
  client_()->replace(kBlockAffinity, turn->affinity, call(turn, &BlockIpam::confirmed));
}

void BlockIpam::confirmed(const TurnPtr& turn, Answer answer) {
  if (is_failure(answer, Why::conflict) || is_failure(answer, Why::absent)) {
    return claim_again(turn, std::move(answer));
  }
  if (!answer) return refuse_all(turn, answer.error());
  own_.insert(turn->cidr);
  use_block(turn, turn->cidr);
}

}  // namespace podwire::control
