// Longest prefix match over both families: a trie with a step for each byte of the address, made
// for a million prefixes. Values are small and trivially copyable.
//
// Copies are free, and each stays as it is: of a trie that has been copied, the first change makes
// a new version, which shares with the one before every node that it does not touch (a change
// copies at most 4 nodes for IPv4, of 3 KiB at most). What a version has replaced is freed when
// neither it nor an older one is held by anybody. A version that was already followed by another
// is copied whole if it is changed.
//
// Memory: 144 bytes and 8 to 12 for each prefix where they lie together; 174 bytes for a prefix
// that is alone. A look-up reads two cache lines for each 8 bits of the longest match; it is made
// for new flows only. Readers on any thread while somebody holds the trie; it is copied, changed
// and destroyed on the control thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/net/address.h"
#include "dataplane/tables/lpm_node.h"

namespace podwire::tables {

template <typename Value>
class Lpm {
 public:
  Lpm() = default;
  Lpm(const Lpm& other) noexcept
      : roots_(other.roots_), size_(other.size_), version_(other.version_) {
    if (version_ != nullptr) ++version_->holders;
  }
  Lpm(Lpm&& other) noexcept { swap(other); }
  Lpm& operator=(Lpm other) noexcept {
    swap(other);
    return *this;
  }
  ~Lpm() {
    if (version_ == nullptr) return;
    --version_->holders;
    version_->roots = roots_;
    release(version_);
  }

  // Null when no prefix covers the address. No allocation, no lock.
  [[nodiscard]] const Value* find(const net::Address& address) const noexcept {
    const bool v4 = address.is_v4();
    std::array<const Node*, 16> passed;
    unsigned depth = 0;
    const std::uint8_t* bytes = address.bytes.data() + (v4 ? 12 : 0);
    // No node is deeper than an address is long; gcc 12 warns at -O3 unless it is told.
    for (const Node* node = roots_[v4]; node != nullptr && depth < passed.size();) {
      passed[depth] = node;
      node = node->child(bytes[depth++]);
    }
    while (depth-- > 0) {
      if (const Value* answer = passed[depth]->answer(bytes[depth])) return answer;
    }
    return nullptr;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  // Of all nodes, without what the allocator adds. Reads the whole trie.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes(roots_[0]) + bytes(roots_[1]); }

  // The value set for exactly this prefix, or null.
  [[nodiscard]] const Value* exact(const net::Prefix& prefix) const noexcept {
    const Place place(prefix);
    const Node* node = roots_[place.v4];
    for (unsigned i = place.first; node != nullptr && i < place.last; ++i) {
      node = node->child(prefix.address.bytes[i]);
    }
    const Item* item = node == nullptr ? nullptr : node->find(place.item);
    return item == nullptr ? nullptr : &item->value;
  }

  void set(const net::Prefix& prefix, Value value) {
    Place place(prefix);
    place.item.value = value;
    begin();
    Node*& root = roots_[place.v4];
    root = with(root, prefix, place, place.first);
  }

  bool erase(const net::Prefix& prefix) {
    if (exact(prefix) == nullptr) return false;
    const Place place(prefix);
    begin();
    Node*& root = roots_[place.v4];
    root = without(root, prefix, place, place.first);
    --size_;
    return true;
  }

  // f(const net::Prefix&, const Value&), every prefix once, IPv4 first.
  template <typename F>
  void for_each(F&& f) const {
    visit(roots_[1], net::Prefix{net::Address::from_v4(net::be32{}), 0}, 12, 12, f);
    visit(roots_[0], net::Prefix{}, 0, 0, f);
  }

 private:
  using Node = LpmNode<Value>;
  using Item = typename Node::Item;
  using Roots = std::array<Node*, 2>;  // of IPv6 and IPv4

  struct Version {
    std::uint64_t number = 1;
    unsigned holders = 1;           // tries of this version
    Version* before = nullptr;      // while it, or one before it, is held
    Version* next = nullptr;        // made from this one
    std::vector<Node*> replaced{};  // by `next`
    Roots roots{};                  // once it is held no more
  };
  struct Place {
    bool v4;
    // Bytes of the address: the root's, and that of the node the prefix ends in.
    unsigned first, last;
    Item item;
    explicit Place(const net::Prefix& prefix)
        : v4(prefix.address.is_v4()), first(v4 ? 12 : 0), last(first) {
      const unsigned depth = prefix.length == 0 ? 0 : (prefix.length - 1U) / 8;
      last = first + depth;
      item.bits = prefix.address.bytes[last];
      item.length = static_cast<std::uint8_t>(prefix.length - depth * 8);
    }
  };

  void swap(Lpm& other) noexcept {
    std::swap(roots_, other.roots_);
    std::swap(size_, other.size_);
    std::swap(version_, other.version_);
  }

  // Afterwards this trie is the only one of its version, and may be edited.
  void begin() {
    if (version_ == nullptr) {
      version_ = new Version;
    } else if (version_->next != nullptr) {
      Lpm whole;
      whole.version_ = new Version;
      whole.roots_ = {clone(roots_[0]), clone(roots_[1])};
      whole.size_ = size_;
      swap(whole);
    } else if (version_->holders > 1) {
      auto* next = new Version{.number = version_->number + 1, .before = version_};
      version_->next = next;
      --version_->holders;
      version_ = next;
    }
  }
  static void release(Version* version) noexcept {
    while (version != nullptr && version->holders == 0 && version->before == nullptr) {
      Version* next = version->next;
      for (Node* node : version->replaced) Node::free(node);
      if (next != nullptr) {
        next->before = nullptr;
      } else {
        for (Node* root : version->roots) free_all(root);
      }
      delete version;
      version = next;
    }
  }
  static void free_all(Node* node) noexcept {
    if (node == nullptr) return;
    for (Node* child : node->all_children()) free_all(child);
    Node::free(node);
  }
  static Node* clone(const Node* node) {
    if (node == nullptr) return nullptr;
    Node* copy = node->copy(1);
    for (Node*& child : std::span(copy->children(), copy->child_count)) child = clone(child);
    return copy;
  }
  static std::size_t bytes(const Node* node) noexcept {
    if (node == nullptr) return 0;
    std::size_t all = node->bytes();
    for (const Node* child : node->all_children()) all += bytes(child);
    return all;
  }

  // In place of `old`, which may be null; null when nothing is in it.
  Node* remade(Node* old, std::span<Node* const> children, std::span<const Item> items,
               const ByteSet& with_child) {
    const bool empty = items.empty() && children.empty();
    Node* node = empty ? nullptr : Node::make(children, items, with_child, version_->number);
    drop(old);
    return node;
  }
  // No longer of this version.
  void drop(Node* old) {
    if (old == nullptr) return;
    if (old->version == version_->number || version_->before == nullptr) {
      Node::free(old);
    } else {
      version_->before->replaced.push_back(old);
    }
  }
  // `old`, or a copy that this version may edit.
  Node* own(Node* old) {
    if (old->version == version_->number) return old;
    Node* copy = old->copy(version_->number);
    drop(old);
    return copy;
  }

  // The subtree as it is with the prefix set.
  Node* with(Node* old, const net::Prefix& prefix, const Place& place, unsigned at) {
    if (at == place.last) return with_item(old, place.item);
    const std::uint8_t byte = prefix.address.bytes[at];
    Node* child = old == nullptr ? nullptr : old->child(byte);
    return with_child(old, byte, child, with(child, prefix, place, at + 1));
  }
  // And without it; it is there. Null when nothing is left.
  Node* without(Node* old, const net::Prefix& prefix, const Place& place, unsigned at) {
    if (at == place.last) return without_item(old, place.item);
    const std::uint8_t byte = prefix.address.bytes[at];
    Node* child = old->child(byte);
    return with_child(old, byte, child, without(child, prefix, place, at + 1));
  }
  Node* with_child(Node* old, std::uint8_t byte, const Node* was, Node* is) {
    if (was == is) return old;
    if (was != nullptr && is != nullptr) {
      Node* node = own(old);
      node->children()[node->with_child.rank(byte) - 1] = is;
      return node;
    }
    ByteSet bytes = old == nullptr ? ByteSet() : old->with_child;
    std::array<Node*, 256> children;
    unsigned count = old == nullptr ? 0 : old->child_count;
    if (old != nullptr) std::copy_n(old->children(), count, children.begin());
    auto* const end = children.begin() + count;
    if (is != nullptr) {
      auto* const place = children.begin() + bytes.rank(byte);
      std::copy_backward(place, end, end + 1);
      *place = is;
      bytes.add(byte);
      ++count;
    } else {
      auto* const place = children.begin() + bytes.rank(byte) - 1;
      std::copy(place + 1, end, place);
      bytes.remove(byte);
      --count;
    }
    const auto items = old == nullptr ? std::span<const Item>() : old->all_items();
    return remade(old, {children.data(), count}, items, bytes);
  }
  Node* with_item(Node* old, const Item& item) {
    if (old == nullptr) {
      ++size_;
      return remade(nullptr, {}, {&item, 1}, {});
    }
    std::array<Item, kItems> items;
    const auto before = static_cast<unsigned>(old->place(item) - old->items());
    const bool found = old->find(item) != nullptr;
    std::copy_n(old->items(), before, items.begin());
    items[before] = item;
    const unsigned rest = before + (found ? 1 : 0);
    std::copy(old->items() + rest, old->items() + old->item_count, items.begin() + before + 1);
    if (!found) ++size_;
    return remade(old, old->all_children(), {items.data(), old->item_count + (found ? 0U : 1U)},
                  old->with_child);
  }
  Node* without_item(Node* old, const Item& item) {
    std::array<Item, kItems> items;
    const Item* found = old->find(item);
    auto* const rest = std::copy(static_cast<const Item*>(old->items()), found, items.begin());
    std::copy(found + 1, static_cast<const Item*>(old->items()) + old->item_count, rest);
    return remade(old, old->all_children(), {items.data(), old->item_count - 1U}, old->with_child);
  }

  template <typename F>
  static void visit(const Node* node, net::Prefix prefix, unsigned first, unsigned at, F& f) {
    if (node == nullptr || at >= prefix.address.bytes.size()) return;
    const auto base = static_cast<std::uint8_t>((at - first) * 8);
    for (const Item& item : node->all_items()) {
      prefix.address.bytes[at] = item.bits;
      prefix.length = static_cast<std::uint8_t>(base + item.length);
      f(std::as_const(prefix), item.value);
    }
    for (unsigned byte = 0; byte < 256; ++byte) {
      const Node* child = node->child(static_cast<std::uint8_t>(byte));
      if (child == nullptr) continue;
      prefix.address.bytes[at] = static_cast<std::uint8_t>(byte);
      visit(child, prefix, first, at + 1, f);
    }
  }

  // Prefixes that can end in one node: 1 of length 0, 2, 4 ... 256 of length 8.
  static constexpr std::size_t kItems = 511;
  Roots roots_{};
  std::size_t size_ = 0;
  Version* version_ = nullptr;
};

}  // namespace podwire::tables
