#include <utility>

#include "control/ipam/block_turn.h"

namespace podwire::control {

using nlohmann::json;

void BlockIpam::disown(const std::string& node, const net::Prefix& cidr) {
  const auto disowning = std::make_shared<Disowning>();
  disowning->node = node;
  disowning->cidr = cidr;
  disownings_.push_back(disowning);
  pump();
}

ObjectClient::Done BlockIpam::call(const DisowningPtr& disowning, DisownStep step) {
  return [this, disowning, step, alive = std::weak_ptr(alive_)](Answer answer) {
    if (!alive.expired()) (this->*step)(disowning, std::move(answer));
  };
}

void BlockIpam::disown_now(const DisowningPtr& disowning) {
  if (client_() == nullptr) return finished();
  client_()->get(kBlockAffinity, affinity_name(disowning->node, disowning->cidr),
                 call(disowning, &BlockIpam::lost_affinity_read));
}

// Marked first: from now on nobody takes the block for the node's, whatever becomes of us.
void BlockIpam::lost_affinity_read(const DisowningPtr& disowning, Answer answer) {
  if (!answer) return finished();
  (*answer)["spec"]["state"] = "pendingDeletion";
  client_()->replace(kBlockAffinity, *answer, call(disowning, &BlockIpam::lost_affinity_marked));
}

void BlockIpam::lost_affinity_marked(const DisowningPtr& disowning, Answer answer) {
  if (!answer) return finished();
  disowning->affinity = std::move(*answer);
  client_()->get(kIpamBlock, block_name(disowning->cidr),
                 call(disowning, &BlockIpam::lost_block_read));
}

void BlockIpam::lost_block_read(const DisowningPtr& disowning, Answer answer) {
  if (is_failure(answer, Why::absent)) return end_affinity(disowning);
  if (!answer) return finished();
  auto block = Block::read(std::move(*answer));
  if (!block) return finished();
  if (block->node() != disowning->node) return end_affinity(disowning);
  // With addresses of other nodes in it it stays, and is nobody's; the last of them ends it.
  const bool empty = block->empty();
  if (empty) {
    block->mark_deleted();
  } else {
    block->forget_affinity();
  }
  client_()->replace(
      kIpamBlock, block->changed(),
      call(disowning, empty ? &BlockIpam::lost_block_marked : &BlockIpam::lost_block_gone));
}

void BlockIpam::lost_block_marked(const DisowningPtr& disowning, Answer answer) {
  if (!answer) return finished();
  client_()->remove(kIpamBlock, *answer, call(disowning, &BlockIpam::lost_block_gone));
}

void BlockIpam::lost_block_gone(const DisowningPtr& disowning, Answer answer) {
  if (!answer && answer.error().why != Why::absent) return finished();
  end_affinity(disowning);
}

void BlockIpam::end_affinity(const DisowningPtr& disowning) {
  client_()->remove(kBlockAffinity, disowning->affinity,
                    [this, alive = std::weak_ptr(alive_)](const Answer& /*answer*/) {
                      if (!alive.expired()) finished();
                    });
}

}  // namespace podwire::control
