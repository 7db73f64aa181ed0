// One decoder for each kind; what decode.cc dispatches to. `object` is the whole object; wrong
// fields are recorded in it (Reader::refuse). Private to control/kube.
#pragma once

#include <functional>

#include "control/kube/objects.h"
#include "control/kube/reader.h"

namespace podwire::control::kube {

Node decode_node(const Reader& object, Meta meta);
Namespace decode_namespace(const Reader& object, Meta meta);
Pod decode_pod(const Reader& object, Meta meta);
Service decode_service(const Reader& object, Meta meta);
EndpointSlice decode_endpoint_slice(const Reader& object, Meta meta);
NetworkPolicy decode_network_policy(const Reader& object, Meta meta);
IpPool decode_ip_pool(const Reader& object, Meta meta);
BlockAffinity decode_block_affinity(const Reader& object, Meta meta);
IpamBlock decode_ipam_block(const Reader& object, Meta meta);
IpamConfig decode_ipam_config(const Reader& object, Meta meta);
IpReservation decode_ip_reservation(const Reader& object, Meta meta);
ServiceCidr decode_service_cidr(const Reader& object, Meta meta);
ClusterNetworkPolicy decode_cluster_network_policy(const Reader& object, Meta meta);
Secret decode_secret(const Reader& object, Meta meta);
BgpConfiguration decode_bgp_configuration(const Reader& object, Meta meta);
BgpPeer decode_bgp_peer(const Reader& object, Meta meta);
BgpFilter decode_bgp_filter(const Reader& object, Meta meta);

// An AS number: 64512, "64512" or "1.10" (RFC 5396); 0 when absent or refused.
std::uint32_t read_as_number(const Reader& field);

// A policy that is wrong somewhere may be all there is between a pod and the world, so its parts
// are read one by one: what is wrong in one refuses the object as ever, and is a doubt beside that
// which concerns the part alone. Answers whether the part was right.
bool read_part(const Reader& part, std::vector<std::string>& doubts,
               const std::function<void(const Reader&)>& read);

Selector decode_selector(const Reader& field);
// Of a subject's selector what is understood: it selects more, never less.
Selector decode_subject(const Reader& field, std::vector<std::string>& doubts);

}  // namespace podwire::control::kube
