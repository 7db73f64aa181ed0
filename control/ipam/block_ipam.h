// Takes addresses out of Calico's blocks in the API server, and gives them back: no two nodes ever
// have one, since every write is of the version that was read. Source: projectcalico/calico
// libcalico-go/lib/ipam/ipam.go, ipam_block_reader_writer.go; order of writes as there:
//
//   a block    BlockAffinity pending ─ IPAMBlock created ─ BlockAffinity confirmed
//   an address IPAMHandle counts it ─ IPAMBlock names the handle
//   given back IPAMBlock forgets the handle ─ IPAMHandle removed
//
// One thing after the other on a node, as Calico's lock has it; but those who wait for an address
// of the same pools get theirs by one write of the block. Control thread only.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/ipam/block.h"
#include "control/store.h"

namespace podwire::control {

class BlockIpam {
 public:
  struct Pool {
    Pool(std::string pool_name, const net::Prefix& range, std::uint8_t block_length)
        : name(std::move(pool_name)), cidr(range), block_size(block_length) {}
    explicit Pool(const kube::IpPool& pool) : Pool(pool.meta.name, pool.cidr, pool.block_size) {}
    std::string name;
    net::Prefix cidr;
    std::uint8_t block_size;
  };
  struct Ask {
    std::string handle;
    Block::Attributes attributes;
    std::vector<Pool> pools;            // of one family; never empty
    std::optional<net::Address> fixed;  // this one, which lies in pools[0]
  };
  struct Refusal {
    bool for_good = false;  // the same would be said again
    std::string sentence;
  };
  // After a refusal the handle may have an address all the same: release() it.
  using Given = std::function<void(tl::expected<net::Address, Refusal>)>;

  // The store outlives it. `client` may answer null; `reserved`: addresses that are not to be
  // given.
  BlockIpam(const Store& store, std::string node, std::function<ObjectClient*()> client,
            Block::Reserved reserved)
      : store_(store),
        node_(std::move(node)),
        client_(std::move(client)),
        reserved_(std::move(reserved)) {}

  void assign(Ask ask, Given given);

  struct Release {
    std::string handle;
    std::vector<net::Address> hints;  // addresses that it may have
  };
  // `done` says whether nothing of it is left.
  void release(Release what, std::function<void(bool done)> done);

  // Ends a node's affinity to a block, and the block where it is empty: of a node that is gone and
  // has no address in it any more. What cannot be done is left as it is; asked again, it goes on.
  //   BlockAffinity pendingDeletion ─ IPAMBlock without affinity, or gone ─ BlockAffinity gone
  void disown(const std::string& node, const net::Prefix& cidr);

 private:
  struct Waiter {
    Ask ask;
    Given given;
    std::optional<net::Prefix> counted;  // its handle counts an address of this block
    bool answered = false;
  };
  // Some who wait for addresses of the same pools, until all are answered.
  struct Turn;
  using TurnPtr = std::shared_ptr<Turn>;
  struct Freeing;
  using FreeingPtr = std::shared_ptr<Freeing>;
  struct Disowning;
  using DisowningPtr = std::shared_ptr<Disowning>;
  using Answer = ObjectClient::Answer;
  using Then = void (BlockIpam::*)(const TurnPtr&, Answer);
  using DisownStep = void (BlockIpam::*)(const DisowningPtr&, Answer);

  void pump();
  void finished();
  ObjectClient::Done call(const TurnPtr& turn, Then then);
  [[nodiscard]] bool is_reserved(const net::Address& address) const;

  // Which block next.
  void next_block(const TurnPtr& turn);
  [[nodiscard]] std::optional<net::Prefix> own_block(const Turn& turn, bool confirmed) const;
  [[nodiscard]] std::optional<net::Prefix> unclaimed_block(const Turn& turn) const;
  [[nodiscard]] std::optional<net::Prefix> foreign_block(const Turn& turn) const;
  [[nodiscard]] bool may_claim() const;
  [[nodiscard]] bool strict() const;

  // Addresses of it.
  void use_block(const TurnPtr& turn, const net::Prefix& cidr);
  void block_read(const TurnPtr& turn, Answer answer);
  void place(const TurnPtr& turn, Block block);
  void count_handle(const TurnPtr& turn, std::size_t which);
  void handle_counted(const TurnPtr& turn, std::size_t which, Answer answer);
  void add_to_handle(const TurnPtr& turn, std::size_t which, nlohmann::json handle);
  void block_written(const TurnPtr& turn, Answer answer);

  // Making it this node's.
  void claim(const TurnPtr& turn, const net::Prefix& cidr);
  void affinity_made(const TurnPtr& turn, Answer answer);
  void affinity_read(const TurnPtr& turn, Answer answer);
  void affinity_pending(const TurnPtr& turn, Answer answer);
  void claim_again(const TurnPtr& turn, Answer answer);
  void make_block(const TurnPtr& turn);
  void block_made(const TurnPtr& turn, Answer answer);
  void rival_read(const TurnPtr& turn, Answer answer);
  void confirm(const TurnPtr& turn);
  void confirmed(const TurnPtr& turn, Answer answer);
  void give_up_block(const TurnPtr& turn, Answer answer);

  bool tried_too_often(const TurnPtr& turn);
  void refuse_all(const TurnPtr& turn, const Refusal& refusal);
  void refuse_all(const TurnPtr& turn, const ObjectFailure& failure) {
    refuse_all(turn, Refusal{false, failure.sentence});
  }

  void free_handle(const FreeingPtr& freeing);
  void handle_read(const FreeingPtr& freeing, Answer answer);
  void free_next(const FreeingPtr& freeing);
  void free_in(const FreeingPtr& freeing, Answer answer);
  void freed_in(const FreeingPtr& freeing, Answer answer, bool last);
  void end_handle(const FreeingPtr& freeing);
  void end(const FreeingPtr& freeing, bool done);

  void disown_now(const DisowningPtr& disowning);
  ObjectClient::Done call(const DisowningPtr& disowning, DisownStep step);
  void lost_affinity_read(const DisowningPtr& disowning, Answer answer);
  void lost_affinity_marked(const DisowningPtr& disowning, Answer answer);
  void lost_block_read(const DisowningPtr& disowning, Answer answer);
  void lost_block_marked(const DisowningPtr& disowning, Answer answer);
  void lost_block_gone(const DisowningPtr& disowning, Answer answer);
  void end_affinity(const DisowningPtr& disowning);

  const Store& store_;
  std::string node_;
  std::function<ObjectClient*()> client_;
  Block::Reserved reserved_;
  std::set<net::Prefix> own_;  // confirmed by us, perhaps not in the store yet
  std::deque<Waiter> waiters_;
  std::deque<FreeingPtr> freeings_;
  std::deque<DisowningPtr> disownings_;
  bool busy_ = false;
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

}  // namespace podwire::control
