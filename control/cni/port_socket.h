// Ports that are no kernel interfaces on the node: the pod's folder, the socket in it, the port on
// it. Control thread only.
#pragma once

#include <memory>
#include <vector>

#include "control/attachments.h"
#include "control/dataplane_link.h"
#include "dataplane/result.h"

namespace podwire::control {

// The place that the network's configuration chose: the error says that everybody may write there,
// or that it is no folder. One that is not there yet is open_socket_port()'s to make or to miss.
Result<void> check_socket_place(const PodPort& port);
// Makes the folder when it is podwire's to make, and the port, which is down until its peer comes.
// The error names the socket or the folder; nothing is left behind.
Result<std::shared_ptr<io::Port>> open_socket_port(DataplaneLink& dataplane, const Attachment& of);
// Removes what open_socket_port() and the pod have put there; the port is gone already. `others`:
// attachments that stay, of which one may have the same folder. The error says what is still there.
Result<void> close_socket_port(const PodPort& port, const std::vector<Attachment>& others);
// For CHECK: the socket that podwire serves is there.
Result<void> check_socket_port(const Attachment& of);

}  // namespace podwire::control
