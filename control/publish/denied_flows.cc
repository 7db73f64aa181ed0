#include "control/publish/denied_flows.h"

#include <algorithm>

namespace podwire::control {
namespace {

constexpr std::uint8_t kIcmp = 1, kIcmpV6 = 58;  // their flows' ports are identifiers

}  // namespace

// The question that workers ask (dataplane/stages/policy.cc): after the Service's choice, before
// masquerading. What comes from an address of the node comes from the node: nobody else may use
// one.
std::function<bool(const observe::FlowRow&)> denied_flows(const tables::Snapshot& snapshot) {
  return
      [policies = snapshot.policies, own = snapshot.node_addresses](const observe::FlowRow& flow) {
        const bool takes_port = flow.protocol != kIcmp && flow.protocol != kIcmpV6;
        const tables::PolicyQuestion question{
            .source = flow.source,
            .destination = flow.reply_source,
            .destination_port = takes_port ? flow.reply_source_port : net::be16{},
            .protocol = flow.protocol,
            .from_own_node = std::binary_search(own.begin(), own.end(), flow.source)};
        return !policies->judge(question).allowed;
      };
}

}  // namespace podwire::control
