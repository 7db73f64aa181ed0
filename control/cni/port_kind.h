// Which kind of port a pod gets, and what its peer has to know: the checked form of a PortWish.
// Nothing here touches the node. Control thread only.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/attachments.h"
#include "control/kube/meta.h"
#include "dataplane/result.h"

namespace podwire::control {

// A pod's annotation for one of its attachments: this and the interface's name, or the network's.
inline constexpr const char* kPortAnnotation = "podwire.io/port.";
inline constexpr std::size_t kLongestSocket = 107;  // sockaddr_un

const char* port_kind_name(PortKind kind);  // "tap", "vhost-user", "memif"

// The configuration's wish as the pod's annotations change it: the one by the interface's name goes
// before the one by the network's. A pod may not choose places of the node's file system. The error
// names annotation and option.
Result<cni::PortWish> with_annotations(const cni::PortWish& of_configuration,
                                       const kube::Labels& annotations, const Attachment& of);

// `folder` is where a socket goes that has no place of its own; `pod` names the pod's in it. The
// error begins with the option: "port.role: ...".
struct PortPlace {
  std::string folder, pod, interface;
};
Result<PodPort> choose_port(const cni::PortWish& wish, const PortPlace& place);

// As records keep it. From a foreign file: an error says that it is none.
nlohmann::json to_json(const PodPort& port);
Result<PodPort> read_pod_port(const nlohmann::json& json);

// For a port that is no tap: the device-info specification's object, which describes the pod's side
// (k8snetworkplumbingwg device-info-spec 1.1.0: type, version, memif or vhost-user).
nlohmann::json device_info(const PodPort& port);

// What starts a peer, ready to be pasted: {"testpmd", "dpdk-testpmd ..."}.
struct PeerLine {
  std::string program, line;
};
std::vector<PeerLine> peer_lines(const Attachment& attachment);

}  // namespace podwire::control
