#include "bench/verdict/acl.h"

#include <cstddef>
#include <cstring>

namespace podwire::bench {
namespace {

constexpr std::size_t kMemory = std::size_t{3} << 30;  // at most; taken as it is touched

enum Field : unsigned { protocol, source, destination, source_port, destination_port, count };
RTE_ACL_RULE_DEF(AclRule, Field::count);

rte_acl_config config() {
  rte_acl_config config{};
  config.num_categories = Acl::kCategories;
  config.num_fields = Field::count;
  using P = Acl::Packet;
  // The first is one byte; the others stand in groups of four (rte_acl's programmer's guide).
  config.defs[0] = {RTE_ACL_FIELD_TYPE_BITMASK, 1, Field::protocol, 0, offsetof(P, protocol)};
  config.defs[1] = {RTE_ACL_FIELD_TYPE_MASK, 4, Field::source, 1, offsetof(P, source)};
  config.defs[2] = {RTE_ACL_FIELD_TYPE_MASK, 4, Field::destination, 2, offsetof(P, destination)};
  config.defs[3] = {RTE_ACL_FIELD_TYPE_RANGE, 2, Field::source_port, 3, offsetof(P, source_port)};
  config.defs[4] = {RTE_ACL_FIELD_TYPE_RANGE, 2, Field::destination_port, 3,
                    offsetof(P, destination_port)};
  return config;
}

// A rule for every packet from or to the pod; its callers narrow it.
AclRule rule_of(bool ingress, unsigned pod, std::uint32_t answer, std::int32_t priority) {
  AclRule rule{};
  rule.data = {1U << unsigned{ingress}, priority, answer};
  auto& own = rule.field[ingress ? Field::destination : Field::source];
  own.value.u32 = Cluster::address(pod).v4().host();
  own.mask_range.u32 = 32;
  rule.field[Field::source_port].mask_range.u16 = 0xffff;
  rule.field[Field::destination_port].mask_range.u16 = 0xffff;
  return rule;
}

std::vector<AclRule> rules_of(std::span<const Allowed> allowed, unsigned local, std::uint32_t allow,
                              std::uint32_t deny) {
  std::vector<AclRule> rules;
  for (unsigned pod = 0; pod < local; ++pod) {
    for (const bool ingress : {false, true}) rules.push_back(rule_of(ingress, pod, deny, 1));
  }
  for (const Allowed& one : allowed) {
    AclRule rule = rule_of(one.ingress, one.pod, allow, 2);
    auto& peer = rule.field[one.ingress ? Field::source : Field::destination];
    peer.value.u32 = one.peers.address.v4().host();
    peer.mask_range.u32 = one.peers.length;
    rule.field[Field::protocol].value.u8 = 6;
    rule.field[Field::protocol].mask_range.u8 = 0xff;
    auto& port = rule.field[Field::destination_port];
    port.value.u16 = port.mask_range.u16 = one.port;
    rules.push_back(rule);
  }
  return rules;
}

}  // namespace

Acl::Acl(std::span<const Allowed> allowed, unsigned local) : heap_("acl", kMemory) {
  const auto rules = rules_of(allowed, local, kAllow, kDeny);
  const rte_acl_param parameters{"verdict", heap_.socket(), RTE_ACL_RULE_SZ(Field::count),
                                 static_cast<std::uint32_t>(rules.size())};
  context_ = rte_acl_create(&parameters);
  const auto config = bench::config();
  int error = context_ == nullptr
                  ? -ENOMEM
                  : rte_acl_add_rules(context_, reinterpret_cast<const rte_acl_rule*>(rules.data()),
                                      static_cast<std::uint32_t>(rules.size()));
  if (error == 0) error = rte_acl_build(context_, &config);
  if (error != 0) trouble_ = std::strerror(-error);
}

Acl::~Acl() {
  rte_acl_free(context_);
}

Acl::Packet Acl::packet_of(const tables::PolicyQuestion& question) {
  return {question.protocol, question.source.v4().raw(), question.destination.v4().raw(), 0,
          question.destination_port.raw()};
}

void Acl::classify(const std::uint8_t** packets, std::uint32_t* results, unsigned count) const {
  rte_acl_classify(context_, packets, results, count, kCategories);
}

}  // namespace podwire::bench
