#include <utility>

#include "control/ipam/block_turn.h"
#include "control/ipam/pools.h"

namespace podwire::control {
namespace {

using nlohmann::json;

}  // namespace

void BlockIpam::release(Release what, std::function<void(bool)> done) {
  const auto freeing = std::make_shared<Freeing>();
  freeing->what = std::move(what);
  freeing->told = std::move(done);
  freeings_.push_back(freeing);
  pump();
}

void BlockIpam::end(const FreeingPtr& freeing, bool done) {
  if (freeing->told) freeing->told(done);
  finished();
}

void BlockIpam::free_handle(const FreeingPtr& freeing) {
  if (client_() == nullptr) return end(freeing, false);
  const std::string name = new_handle(freeing->what.handle)["metadata"]["name"];
  client_()->get(kIpamHandle, name, [this, freeing, alive = std::weak_ptr(alive_)](Answer answer) {
    if (!alive.expired()) handle_read(freeing, std::move(answer));
  });
}

// Where to look: what the handle counts, and where the addresses are that it should have.
void BlockIpam::handle_read(const FreeingPtr& freeing, Answer answer) {
  if (!answer && answer.error().why != Why::absent) return end(freeing, false);
  freeing->handle = answer ? std::move(*answer) : json();
  freeing->blocks.clear();
  const json blocks = freeing->handle.is_object()
                          ? freeing->handle.value("/spec/block"_json_pointer, json())
                          : json();
  for (const auto& [text, count] : blocks.items()) {
    if (const auto cidr = net::Prefix::parse(text)) freeing->blocks.insert(*cidr);
  }
  for (const net::Address& hint : freeing->what.hints) {
    for (const auto& [name, block] : store_.ipam_blocks) {
      if (block.cidr.contains(hint)) freeing->blocks.insert(block.cidr);
    }
    if (const kube::IpPool* const pool = pool_of(store_, hint)) {
      freeing->blocks.insert(net::Prefix::around(hint, pool->block_size));
    }
  }
  free_next(freeing);
}

void BlockIpam::free_next(const FreeingPtr& freeing) {
  if (freeing->blocks.empty()) return end_handle(freeing);
  const net::Prefix cidr = *freeing->blocks.begin();
  client_()->get(kIpamBlock, block_name(cidr),
                 [this, freeing, alive = std::weak_ptr(alive_)](Answer answer) {
                   if (!alive.expired()) free_in(freeing, std::move(answer));
                 });
}

void BlockIpam::free_in(const FreeingPtr& freeing, Answer answer) {
  const auto pass = [&] {
    freeing->blocks.erase(freeing->blocks.begin());
    free_next(freeing);
  };
  if (is_failure(answer, Why::absent)) return pass();
  if (!answer) return end(freeing, false);
  auto block = Block::read(std::move(*answer));
  if (!block) return end(freeing, false);
  if (block->release(freeing->what.handle) == 0) return pass();
  // A block that is nobody's goes when nothing is left in it (Calico's soft delete, then the real).
  const bool last = block->empty() && block->node().empty();
  if (last) block->mark_deleted();
  client_()->replace(kIpamBlock, block->changed(),
                     [this, freeing, last, alive = std::weak_ptr(alive_)](Answer written) {
                       if (!alive.expired()) freed_in(freeing, std::move(written), last);
                     });
}

void BlockIpam::freed_in(const FreeingPtr& freeing, Answer answer, bool last) {
  if (is_failure(answer, Why::conflict) && ++freeing->tries <= kMostTries) {
    return free_next(freeing);
  }
  if (!answer && answer.error().why != Why::absent) return end(freeing, false);
  freeing->blocks.erase(freeing->blocks.begin());
  if (!last || !answer) return free_next(freeing);
  client_()->remove(kIpamBlock, *answer,
                    [this, freeing, alive = std::weak_ptr(alive_)](const Answer& /*removed*/) {
                      if (!alive.expired()) free_next(freeing);
                    });
}

void BlockIpam::end_handle(const FreeingPtr& freeing) {
  if (!freeing->handle.is_object()) return end(freeing, true);
  client_()->remove(kIpamHandle, freeing->handle,
                    [this, freeing, alive = std::weak_ptr(alive_)](const Answer& answer) {
                      if (alive.expired()) return;
                      const bool again = is_failure(answer, Why::conflict);
                      if (again && ++freeing->tries <= kMostTries) return free_handle(freeing);
                      end(freeing, answer || answer.error().why == Why::absent);
                    });
}

}  // namespace podwire::control
