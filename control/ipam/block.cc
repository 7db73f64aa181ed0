#include "control/ipam/block.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <utility>

#include "control/kube/decode.h"
#include "dataplane/check.h"

namespace podwire::control {
namespace {

using nlohmann::json;

constexpr std::size_t kLongestName = 253;

net::Address nth(const net::Prefix& range, std::size_t offset) {
  net::Address address = range.address;
  for (unsigned i = 15; offset != 0; --i, offset >>= 8) {
    address.bytes[i] = static_cast<std::uint8_t>(address.bytes[i] | (offset & 0xff));
  }
  return address;
}

std::size_t offset_in_block(const net::Prefix& range, const net::Address& address) {
  std::size_t offset = 0;
  for (unsigned i = 12; i < 16; ++i) {
    offset = offset << 8 | static_cast<std::size_t>(address.bytes[i] ^ range.address.bytes[i]);
  }
  return offset;
}

std::vector<std::uint8_t> digest(const EVP_MD* algorithm, const std::string& text) {
  std::vector<std::uint8_t> bytes(EVP_MAX_MD_SIZE);
  unsigned size = 0;
  const bool done =
      EVP_Digest(text.data(), text.size(), bytes.data(), &size, algorithm, nullptr) == 1;
  check(done, "OpenSSL cannot make a SHA digest");
  bytes.resize(size);
  return bytes;
}

std::string hex_of(const std::vector<std::uint8_t>& bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : bytes) text += {kDigits[byte >> 4], kDigits[byte & 15]};
  return text;
}

json metadata_of(const std::string& name) {
  return {{"name", name}};
}

// "10.0.0.1\r\neth0" of old hosts is 10.0.0.1's (libcalico-go sanitizeHandle).
bool is_handle(const json& attribute, const std::string& handle) {
  const auto found = attribute.find("handle_id");
  if (found == attribute.end() || !found->is_string()) return false;
  const auto& text = found->get_ref<const std::string&>();
  return std::string_view(text).substr(0, text.find('\r')) == handle;
}

}  // namespace

std::string block_name(const net::Prefix& cidr) {
  std::string name = cidr.to_string();
  std::ranges::replace_if(
      name, [](char c) { return c == '.' || c == ':' || c == '/'; }, '-');
  return name;
}

// A name that is too long is cut and has a hash instead (ipam_affinity.go).
std::string affinity_name(const std::string& node, const net::Prefix& cidr) {
  const std::string block = block_name(cidr);
  std::string name = node + "-" + block;
  if (name.size() < kLongestName) return name;
  name = node.substr(0, kLongestName - 1 - block.size() - 13) + "-" + block;
  return name + "-" + hex_of(digest(EVP_sha256(), node + "+" + block)).substr(0, 11);
}

// RFC 4648 section 6, without padding.
std::string hostname_hash(const std::string& node) {
  static constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  std::string text;
  unsigned bits = 0, count = 0;
  for (const std::uint8_t byte : digest(EVP_sha3_256(), node)) {
    bits = bits << 8 | byte;
    for (count += 8; count >= 5; count -= 5) text += kDigits[bits >> (count - 5) & 31];
    bits &= 0xff;
  }
  if (count > 0) text += kDigits[bits << (5 - count) & 31];
  return text;
}

json new_affinity(const std::string& node, const net::Prefix& cidr) {
  json metadata = metadata_of(affinity_name(node, cidr));
  metadata["labels"] = {{"projectcalico.org/hostname-hash", hostname_hash(node)},
                        {"projectcalico.org/affinity-type", "host"},
                        {"projectcalico.org/ip-version", cidr.address.is_v4() ? "4" : "6"}};
  return {{"apiVersion", kBlockAffinity.api_version},
          {"kind", kBlockAffinity.kind},
          {"metadata", std::move(metadata)},
          {"spec",
           {{"state", "pending"},
            {"node", node},
            {"type", "host"},
            {"cidr", cidr.to_string()},
            {"deleted", "false"}}}};
}

json new_handle(const std::string& handle) {
  std::string name = handle;
  std::ranges::transform(name, name.begin(), [](unsigned char c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  });
  return {{"apiVersion", kIpamHandle.api_version},
          {"kind", kIpamHandle.kind},
          {"metadata", metadata_of(name)},
          {"spec", {{"handleID", handle}, {"block", json::object()}, {"deleted", false}}}};
}

Result<Block> Block::read(json object) {
  // What the API server answers names its kind; the decoder's checks are all that is relied on.
  const auto decoded = kube::decode(object);
  if (!decoded) return fail(decoded.error().message);
  const auto* const block = std::get_if<kube::IpamBlock>(&*decoded);
  if (block == nullptr) return fail(kube::kind_and_name(*decoded) + ": is no IPAMBlock");
  json& spec = object["spec"];
  for (const char* list : {"allocations", "unallocated", "attributes"}) {
    if (!spec[list].is_array()) spec[list] = json::array();
  }
  if (!spec["sequenceNumber"].is_number_integer()) spec["sequenceNumber"] = std::uint64_t{0};
  if (!spec["sequenceNumberForAllocation"].is_object()) {
    spec["sequenceNumberForAllocation"] = json::object();
  }
  const std::size_t size = spec["allocations"].size();
  for (const json& offset : spec["unallocated"]) {
    if (offset.is_number_unsigned() && offset.get<std::uint64_t>() < size) continue;
    return fail(kube::kind_and_name(*decoded) + ": spec.unallocated: " + offset.dump() +
                " is no offset in the block");
  }
  return Block(std::move(object), block->cidr);
}

Block Block::fresh(const net::Prefix& cidr, const std::string& node, std::uint64_t sequence,
                   const std::string& now) {
  const unsigned bits = (cidr.address.is_v4() ? 32U : 128U) - cidr.length;
  const std::size_t size = std::size_t{1} << bits;
  json unallocated = json::array();
  for (std::size_t i = 0; i < size; ++i) unallocated.push_back(i);
  json object{{"apiVersion", kIpamBlock.api_version},
              {"kind", kIpamBlock.kind},
              {"metadata", metadata_of(block_name(cidr))},
              {"spec",
               {{"cidr", cidr.to_string()},
                {"affinity", "host:" + node},
                {"affinityClaimTime", now},
                {"strictAffinity", false},
                {"allocations", json(size, nullptr)},
                {"unallocated", std::move(unallocated)},
                {"attributes", json::array()},
                {"sequenceNumber", sequence},
                {"sequenceNumberForAllocation", json::object()},
                {"deleted", false}}}};
  return {std::move(object), cidr};
}

std::string Block::node() const {
  const auto affinity = spec().find("affinity");
  if (affinity == spec().end() || !affinity->is_string()) return {};
  const auto text = affinity->get<std::string>();
  return text.starts_with("host:") ? text.substr(5) : "";
}

bool Block::empty() const {
  return std::ranges::all_of(spec()["allocations"], [](const json& a) { return a.is_null(); });
}

std::optional<std::string> Block::handle_of(const net::Address& address) const {
  const json& number = spec()["allocations"][offset_in_block(cidr_, address)];
  if (number.is_null()) return std::nullopt;
  return spec()["attributes"][number.get<std::size_t>()].value("handle_id", "");
}

std::size_t Block::attribute(const std::string& handle, const Attributes& attributes) {
  const json wanted{{"handle_id", handle}, {"secondary", attributes}};
  json& all = spec()["attributes"];
  const auto found = std::ranges::find(all, wanted);
  if (found != all.end()) return static_cast<std::size_t>(found - all.begin());
  all.push_back(wanted);
  return all.size() - 1;
}

void Block::take(std::size_t offset, const std::string& handle, const Attributes& attributes) {
  spec()["allocations"][offset] = attribute(handle, attributes);
  spec()["sequenceNumberForAllocation"][std::to_string(offset)] = spec()["sequenceNumber"];
}

std::optional<net::Address> Block::assign(const std::string& handle, const Attributes& attributes,
                                          const Reserved& reserved) {
  json& free = spec()["unallocated"];
  for (std::size_t i = 0; i < free.size(); ++i) {
    const auto offset = free[i].get<std::size_t>();
    const net::Address address = nth(cidr_, offset);
    if (reserved(address)) continue;
    free.erase(i);
    take(offset, handle, attributes);
    return address;
  }
  return std::nullopt;
}

bool Block::assign(const net::Address& address, const std::string& handle,
                   const Attributes& attributes) {
  const std::size_t offset = offset_in_block(cidr_, address);
  if (!spec()["allocations"][offset].is_null()) return false;
  json& free = spec()["unallocated"];
  const auto place = std::ranges::find(free, json(offset));
  if (place != free.end()) free.erase(place);
  take(offset, handle, attributes);
  return true;
}

unsigned Block::release(const std::string& handle) {
  json& allocations = spec()["allocations"];
  unsigned count = 0;
  for (std::size_t offset = 0; offset < allocations.size(); ++offset) {
    const json& number = allocations[offset];
    if (number.is_null()) continue;
    if (!is_handle(spec()["attributes"][number.get<std::size_t>()], handle)) continue;
    allocations[offset] = nullptr;
    spec()["unallocated"].push_back(offset);
    spec()["sequenceNumberForAllocation"].erase(std::to_string(offset));
    ++count;
  }
  if (count > 0) drop_unused_attributes();
  return count;
}

void Block::drop_unused_attributes() {
  json& allocations = spec()["allocations"];
  const json old = std::exchange(spec()["attributes"], json::array());
  json& kept = spec()["attributes"];
  std::vector<std::optional<std::size_t>> moved(old.size());
  for (json& number : allocations) {
    if (number.is_null()) continue;
    auto& place = moved[number.get<std::size_t>()];
    if (!place) {
      place = kept.size();
      kept.push_back(old[number.get<std::size_t>()]);
    }
    number = *place;
  }
}

const json& Block::changed() {
  spec()["sequenceNumber"] = spec()["sequenceNumber"].get<std::uint64_t>() + 1;
  return object_;
}

}  // namespace podwire::control
