// One decoder for each kind; what decode.cc dispatches to. `object` is the whole object; wrong
// fields are recorded in it (Reader::refuse). Private to control/kube.
#pragma once

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
ServiceCidr decode_service_cidr(const Reader& object, Meta meta);

}  // namespace podwire::control::kube
