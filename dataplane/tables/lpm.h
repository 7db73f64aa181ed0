// Longest prefix match over both families: a trie of 256-way nodes that is never edited. A changed
// copy shares every node that the change did not touch: at most 4 (IPv4) or 16 (IPv6) nodes of
// about 1 KiB are copied. A look-up is a few dependent loads per 8 bits of the longest match; it is
// made for new flows only. Readers on any thread while they hold the trie; writers make a new one
// on the control thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "dataplane/net/address.h"

namespace podwire::tables {

template <typename Value>
class Lpm {
 public:
  // Null when no prefix covers the address. No allocation, no lock.
  [[nodiscard]] const Value* find(const net::Address& address) const noexcept {
    const bool v4 = address.is_v4();
    const Node* node = v4 ? root4_.get() : root6_.get();
    const Value* best = nullptr;
    for (unsigned i = v4 ? 12 : 0; node != nullptr; ++i) {
      const Step step = node->steps[address.bytes[i]];
      if (step.longest != 0) best = &node->prefixes[step.longest - 1U].value;
      if (step.child == 0) break;
      node = node->children[step.child - 1U].get();
    }
    return best;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  // The value set for exactly this prefix, or null.
  [[nodiscard]] const Value* exact(const net::Prefix& prefix) const noexcept {
    const Place place(prefix);
    const Node* node = root(prefix).get();
    for (unsigned i = place.first; node != nullptr && i < place.last; ++i) {
      node = node->child(prefix.address.bytes[i]);
    }
    const Item* item = node == nullptr ? nullptr : node->item(place.bits, place.length);
    return item == nullptr ? nullptr : &item->value;
  }

  void set(const net::Prefix& prefix, Value value) {
    const Place place(prefix);
    auto& top = root(prefix);
    top = with(top.get(), prefix, place, place.first, &value);
  }

  bool erase(const net::Prefix& prefix) {
    if (exact(prefix) == nullptr) return false;
    const Place place(prefix);
    auto& top = root(prefix);
    top = with(top.get(), prefix, place, place.first, nullptr);
    return true;
  }

  // f(const net::Prefix&, const Value&), every prefix once, IPv4 first.
  template <typename F>
  void for_each(F&& f) const {
    net::Prefix prefix{net::Address::from_v4(net::be32{}), 0};
    visit(root4_.get(), prefix, 12, 12, f);
    prefix = net::Prefix{};
    visit(root6_.get(), prefix, 0, 0, f);
  }

 private:
  // A prefix ends inside one node: `bits` are the top `length` (0 to 8) bits of that node's byte.
  struct Item {
    std::uint8_t bits, length;
    Value value;
  };
  // What a byte of the address leads to: places in `prefixes` and `children` + 1, 0 for none.
  struct Step {
    std::uint16_t longest = 0, child = 0;
  };
  struct Node {
    std::array<Step, 256> steps{};
    std::vector<Item> prefixes;
    std::vector<std::shared_ptr<const Node>> children;

    [[nodiscard]] const Node* child(std::uint8_t byte) const noexcept {
      const std::uint16_t place = steps[byte].child;
      return place == 0 ? nullptr : children[place - 1U].get();
    }
    void set_child(std::uint8_t byte, std::shared_ptr<const Node> child) {
      Step& step = steps[byte];
      if (child != nullptr && step.child != 0) {
        children[step.child - 1U] = std::move(child);
      } else if (child != nullptr) {
        children.push_back(std::move(child));
        step.child = static_cast<std::uint16_t>(children.size());
      } else if (step.child != 0) {
        const std::uint16_t place = std::exchange(step.child, std::uint16_t{0});
        children.erase(children.begin() + (place - 1));
        for (Step& other : steps) {
          if (other.child > place) --other.child;
        }
      }
    }
    [[nodiscard]] const Item* item(std::uint8_t bits, std::uint8_t length) const noexcept {
      for (const Item& item : prefixes) {
        if (item.bits == bits && item.length == length) return &item;
      }
      return nullptr;
    }
    void expand() {
      for (Step& step : steps) step.longest = 0;
      std::array<std::uint8_t, 256> lengths{};
      for (std::size_t n = 0; n < prefixes.size(); ++n) {
        const Item& item = prefixes[n];
        const unsigned count = 1U << (8 - item.length);
        for (unsigned byte = item.bits; byte < item.bits + count; ++byte) {
          if (steps[byte].longest == 0 || lengths[byte] <= item.length) {
            steps[byte].longest = static_cast<std::uint16_t>(n + 1);
            lengths[byte] = item.length;
          }
        }
      }
    }
  };
  struct Place {
    unsigned first,
        last;  // bytes of the address: the root's, and that of the node the prefix ends in
    std::uint8_t bits, length;
    explicit Place(const net::Prefix& prefix) : first(prefix.address.is_v4() ? 12 : 0) {
      const unsigned depth = prefix.length == 0 ? 0 : (prefix.length - 1U) / 8;
      last = first + depth;
      bits = prefix.address.bytes[last];
      length = static_cast<std::uint8_t>(prefix.length - depth * 8);
    }
  };
  using NodePtr = std::shared_ptr<const Node>;

  [[nodiscard]] const NodePtr& root(const net::Prefix& p) const {
    return p.address.is_v4() ? root4_ : root6_;
  }
  NodePtr& root(const net::Prefix& p) { return p.address.is_v4() ? root4_ : root6_; }

  // The subtree as it is with the prefix set to *value, or without it when value is null. Null when
  // empty.
  NodePtr with(const Node* old, const net::Prefix& prefix, const Place& place, unsigned byte_index,
               Value* value) {
    auto node = old == nullptr ? std::make_shared<Node>() : std::make_shared<Node>(*old);
    if (byte_index == place.last) {
      const Item* found = node->item(place.bits, place.length);
      if (value == nullptr) {
        node->prefixes.erase(node->prefixes.begin() + (found - node->prefixes.data()));
        --size_;
      } else if (found != nullptr) {
        node->prefixes[static_cast<std::size_t>(found - node->prefixes.data())].value =
            std::move(*value);
      } else {
        node->prefixes.push_back(Item{place.bits, place.length, std::move(*value)});
        ++size_;
      }
      node->expand();
    } else {
      const std::uint8_t byte = prefix.address.bytes[byte_index];
      node->set_child(byte, with(node->child(byte), prefix, place, byte_index + 1, value));
    }
    if (node->prefixes.empty() && node->children.empty()) return nullptr;
    return node;
  }

  template <typename F>
  static void visit(const Node* node, net::Prefix prefix, unsigned first, unsigned byte_index,
                    F& f) {
    // No node is deeper than an address is long; gcc 12 warns at -O3 unless it is told.
    if (node == nullptr || byte_index >= prefix.address.bytes.size()) return;
    const auto base = static_cast<std::uint8_t>((byte_index - first) * 8);
    for (const Item& item : node->prefixes) {
      prefix.address.bytes[byte_index] = item.bits;
      prefix.length = static_cast<std::uint8_t>(base + item.length);
      f(std::as_const(prefix), item.value);
    }
    for (unsigned byte = 0; byte < 256; ++byte) {
      const Node* child = node->child(static_cast<std::uint8_t>(byte));
      if (child == nullptr) continue;
      prefix.address.bytes[byte_index] = static_cast<std::uint8_t>(byte);
      visit(child, prefix, first, byte_index + 1, f);
    }
  }

  NodePtr root4_, root6_;
  std::size_t size_ = 0;
};

}  // namespace podwire::tables
