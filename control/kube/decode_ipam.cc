#include <algorithm>

#include "control/kube/decoders.h"

namespace podwire::control::kube {
namespace {

unsigned bits_of(const net::Prefix& prefix) {
  return prefix.family() == net::Family::v4 ? 32 : 128;
}

net::Prefix read_cidr(const Reader& field) {
  if (!field.present()) field.refuse("is not given");
  return field.prefix(true).value_or(net::Prefix{});
}

void decode_block_size(const Reader& field, IpPool& pool) {
  const bool v4 = pool.cidr.family() == net::Family::v4;
  pool.block_size =
      static_cast<std::uint8_t>(v4 ? field.integer(20, 32, 26) : field.integer(116, 128, 122));
  if (pool.block_size < pool.cidr.length) {
    field.refuse((field.present() ? field.shown() : "/" + std::to_string(pool.block_size)) +
                 " is a larger block than the pool " + pool.cidr.to_string());
  }
}

CalicoSelector decode_expression(const Reader& field) {
  auto selector = CalicoSelector::parse(field.text());
  if (selector) return std::move(*selector);
  field.refuse(field.shown() + " is no selector: " + selector.error().message);
  return {};
}

void decode_uses(const Reader& field, IpPool& pool) {
  const auto uses = field.elements();
  if (uses.empty()) return;  // Workload and Tunnel
  pool.for_pods = pool.for_tunnels = false;
  for (const Reader& use : uses) {
    const auto which = use.one_of({"Workload", "Tunnel", "LoadBalancer"}, 2);
    pool.for_pods |= which == 0;
    pool.for_tunnels |= which == 1;
  }
}

net::Address nth(const net::Prefix& range, std::uint32_t offset) {
  net::Address address = range.address;
  for (unsigned i = 15; offset != 0; --i, offset >>= 8) {
    address.bytes[i] = static_cast<std::uint8_t>(address.bytes[i] | (offset & 0xff));
  }
  return address;
}

IpamBlock::Allocation decode_attribute(const Reader& field) {
  IpamBlock::Allocation allocation;
  // Files of old hosts hold "id\r\neth0" there (libcalico-go sanitizeHandle).
  allocation.handle = field["handle_id"].text();
  allocation.handle = allocation.handle.substr(0, allocation.handle.find('\r'));
  const Reader owner = field["secondary"];
  allocation.node = owner["node"].text();
  allocation.type = owner["type"].text();
  const std::string pod = owner["pod"].text();
  if (!pod.empty()) allocation.pod = owner["namespace"].text() + "/" + pod;
  return allocation;
}

// allocations[i] is the number of an attribute, or null.
void decode_allocations(const Reader& spec, IpamBlock& block) {
  std::vector<IpamBlock::Allocation> attributes;
  for (const Reader& field : spec["attributes"].elements()) {
    attributes.push_back(decode_attribute(field));
  }
  const Reader list = spec["allocations"];
  const auto fields = list.elements();
  if (fields.size() != std::uint64_t{1} << (bits_of(block.cidr) - block.cidr.length)) {
    return list.refuse("has " + std::to_string(fields.size()) +
                       " entries, which is not the size of " + block.cidr.to_string());
  }
  for (std::uint32_t i = 0; i < fields.size(); ++i) {
    if (!fields[i].present()) continue;
    if (attributes.empty()) return fields[i].refuse(fields[i].shown() + " has no attribute");
    const auto most = static_cast<std::int64_t>(attributes.size()) - 1;
    const auto number = static_cast<std::size_t>(fields[i].integer(0, most, 0));
    block.allocations.push_back(attributes[number]);
    block.allocations.back().address = nth(block.cidr, i);
  }
}

}  // namespace

IpPool decode_ip_pool(const Reader& object, Meta meta) {
  IpPool pool;
  pool.meta = std::move(meta);
  const Reader spec = object["spec"];
  const Reader cidr = spec["cidr"];
  if (!cidr.present()) cidr.refuse("is not given");
  const auto given = cidr.prefix(true);
  if (!given) return pool;
  pool.cidr = *given;
  decode_block_size(spec["blockSize"], pool);
  const Reader ipip = spec["ipipMode"];
  pool.ipip = static_cast<TunnelMode>(ipip.one_of({"Never", "Always", "CrossSubnet"}, 0));
  if (pool.ipip != TunnelMode::never && pool.cidr.family() == net::Family::v6) {
    ipip.refuse(ipip.shown() + " is given for an IPv6 pool; IPIP carries IPv4 only");
  }
  const Reader vxlan = spec["vxlanMode"];
  if (vxlan.one_of({"Never", "Always", "CrossSubnet"}, 0) != 0) {
    vxlan.refuse(vxlan.shown() + " is given, but podwire carries no VXLAN; use ipipMode");
  }
  pool.nat_outgoing = spec["natOutgoing"].boolean(false);
  pool.disabled = spec["disabled"].boolean(false);
  pool.disable_bgp_export = spec["disableBGPExport"].boolean(false);
  pool.manual = spec["assignmentMode"].one_of({"Automatic", "Manual"}, 0) == 1;
  pool.nodes = decode_expression(spec["nodeSelector"]);
  pool.namespaces = decode_expression(spec["namespaceSelector"]);
  decode_uses(spec["allowedUses"], pool);
  return pool;
}

BlockAffinity decode_block_affinity(const Reader& object, Meta meta) {
  BlockAffinity affinity;
  affinity.meta = std::move(meta);
  const Reader spec = object["spec"];
  affinity.cidr = read_cidr(spec["cidr"]);
  affinity.node = spec["node"].text();
  affinity.state = static_cast<BlockAffinity::State>(
      spec["state"].one_of({"pending", "confirmed", "pendingDeletion"}, 0));
  // A string in the API: "true", "false", or none.
  affinity.deleted = spec["deleted"].text() == "true";
  // A virtual one belongs to no node: load balancers' addresses.
  if (const std::string type = spec["type"].text(); !type.empty() && type != "host") {
    affinity.node.clear();
  }
  return affinity;
}

IpamBlock decode_ipam_block(const Reader& object, Meta meta) {
  IpamBlock block;
  block.meta = std::move(meta);
  const Reader spec = object["spec"];
  const Reader cidr = spec["cidr"];
  block.cidr = read_cidr(cidr);
  if (bits_of(block.cidr) - block.cidr.length > kLargestBlockBits) {
    cidr.refuse(cidr.shown() + " is larger than a block can be");
    return block;
  }
  const std::string affinity = spec["affinity"].text();
  if (affinity.starts_with("host:")) block.node = affinity.substr(5);
  block.deleted = spec["deleted"].boolean(false);
  block.free = static_cast<std::uint32_t>(spec["unallocated"].elements().size());
  decode_allocations(spec, block);
  return block;
}

IpamConfig decode_ipam_config(const Reader& object, Meta meta) {
  IpamConfig config;
  config.meta = std::move(meta);
  const Reader spec = object["spec"];
  config.strict_affinity = spec["strictAffinity"].boolean(false);
  config.allocate_blocks = spec["autoAllocateBlocks"].boolean(true);
  config.blocks_per_host =
      static_cast<std::uint32_t>(spec["maxBlocksPerHost"].integer(0, 1'000'000, 0));
  return config;
}

IpReservation decode_ip_reservation(const Reader& object, Meta meta) {
  IpReservation reservation;
  reservation.meta = std::move(meta);
  for (const Reader& field : object["spec"]["reservedCIDRs"].elements()) {
    if (const auto cidr = field.prefix()) reservation.cidrs.push_back(*cidr);
  }
  return reservation;
}

}  // namespace podwire::control::kube
