// One step of the trie in lpm.h: what the 256 values of an address's byte lead to. One block of
// memory of exactly the size it needs; made anew when its shape changes.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <type_traits>

namespace podwire::tables {

// Bytes, and how many of them come before one.
class ByteSet {
 public:
  [[nodiscard]] bool has(std::uint8_t byte) const noexcept {
    return (words_[byte / 64U] >> (byte % 64U) & 1U) != 0;
  }
  void add(std::uint8_t byte) noexcept {
    words_[byte / 64U] |= 1ULL << (byte % 64U);
    count_again();
  }
  void remove(std::uint8_t byte) noexcept {
    words_[byte / 64U] &= ~(1ULL << (byte % 64U));
    count_again();
  }
  // Of those up to `byte`, itself included.
  [[nodiscard]] unsigned rank(std::uint8_t byte) const noexcept {
    return before_[byte / 64U] + count_of(words_[byte / 64U] << (63U - byte % 64U));
  }
  [[nodiscard]] unsigned count() const noexcept { return rank(255); }

 private:
  static unsigned count_of(std::uint64_t word) noexcept {
    return static_cast<unsigned>(std::popcount(word));
  }
  void count_again() noexcept {
    unsigned all = 0;
    for (unsigned word = 0; word < words_.size(); ++word) {
      before_[word] = static_cast<std::uint8_t>(all);
      all += count_of(words_[word]);
    }
  }
  std::array<std::uint64_t, 4> words_{};
  std::array<std::uint8_t, 4> before_{};  // how many of them the words before have
};

// Children, then the answers, then the prefixes that end here, stand behind this header.
template <typename Value>
struct LpmNode {
  static_assert(std::is_trivially_copyable_v<Value> && alignof(Value) <= alignof(void*));
  // `bits` are the top `length` (0 to 8) bits of the byte.
  struct Item {
    std::uint8_t length = 0, bits = 0;
    Value value{};
    [[nodiscard]] unsigned key() const { return unsigned{length} << 8U | bits; }
  };

  std::uint64_t version = 0;  // of the trie in which it was made: that one may still edit it
  std::uint32_t item_count = 0;
  std::uint32_t child_count = 0;
  ByteSet with_child;
  ByteSet covered;  // by a prefix that ends here
  ByteSet starts;   // of the covered ones: where another answer begins than the byte before has

  static LpmNode* make(std::span<LpmNode* const> children, std::span<const Item> items,
                       const ByteSet& with_child, std::uint64_t version) {
    std::array<std::uint16_t, 256> longest{};         // place of the item + 1
    for (std::size_t n = 0; n < items.size(); ++n) {  // the shortest first
      const Item& item = items[n];
      std::fill_n(longest.begin() + item.bits, 256U >> item.length,
                  static_cast<std::uint16_t>(n + 1));
    }
    LpmNode header;
    header.version = version;
    header.item_count = static_cast<std::uint32_t>(items.size());
    header.child_count = static_cast<std::uint32_t>(children.size());
    header.with_child = with_child;
    std::array<Value, 256> answers{};
    unsigned answer_count = 0;
    std::uint16_t last = 0;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const std::uint16_t now = longest[byte];
      if (now != 0) header.covered.add(static_cast<std::uint8_t>(byte));
      if (now != 0 && now != last) {
        header.starts.add(static_cast<std::uint8_t>(byte));
        answers[answer_count++] = items[now - 1U].value;
      }
      last = now;
    }
    const std::size_t size =
        sizeof(LpmNode) + children.size_bytes() + answer_count * sizeof(Value) + items.size_bytes();
    auto* node = new (::operator new(size)) LpmNode(header);
    std::copy(children.begin(), children.end(), node->children());
    std::copy_n(answers.begin(), answer_count, node->answers());
    std::copy(items.begin(), items.end(), node->items());
    return node;
  }
  [[nodiscard]] LpmNode* copy(std::uint64_t for_version) const {
    void* memory = ::operator new(bytes());
    std::memcpy(memory, static_cast<const void*>(this), bytes());
    auto* node = static_cast<LpmNode*>(memory);
    node->version = for_version;
    return node;
  }
  static void free(LpmNode* node) noexcept { ::operator delete(static_cast<void*>(node)); }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return sizeof(LpmNode) + std::span(children(), child_count).size_bytes() +
           starts.count() * sizeof(Value) + item_count * sizeof(Item);
  }

  [[nodiscard]] LpmNode** children() const noexcept {
    return reinterpret_cast<LpmNode**>(const_cast<LpmNode*>(this) + 1);
  }
  [[nodiscard]] Value* answers() const noexcept {
    return reinterpret_cast<Value*>(children() + child_count);
  }
  [[nodiscard]] Item* items() const noexcept {
    return reinterpret_cast<Item*>(answers() + starts.count());
  }
  [[nodiscard]] std::span<LpmNode* const> all_children() const noexcept {
    return {children(), child_count};
  }
  [[nodiscard]] std::span<const Item> all_items() const noexcept { return {items(), item_count}; }

  [[nodiscard]] LpmNode* child(std::uint8_t byte) const noexcept {
    return with_child.has(byte) ? children()[with_child.rank(byte) - 1] : nullptr;
  }
  // Of the longest prefix that ends here and covers the byte; null: none does.
  [[nodiscard]] const Value* answer(std::uint8_t byte) const noexcept {
    return covered.has(byte) ? answers() + starts.rank(byte) - 1 : nullptr;
  }
  // Where the item is, or would be.
  [[nodiscard]] const Item* place(const Item& item) const noexcept {
    return std::lower_bound(items(), items() + item_count, item,
                            [](const Item& a, const Item& b) { return a.key() < b.key(); });
  }
  [[nodiscard]] const Item* find(const Item& item) const noexcept {
    const Item* at = place(item);
    return at != items() + item_count && at->key() == item.key() ? at : nullptr;
  }
};

}  // namespace podwire::tables
