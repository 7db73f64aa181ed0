// Intent -> the text of BIRD 2's configuration (bird.network.cz, 2.0 user's guide). The same intent
// gives the same text. It holds passwords: never log it. Thread-safe: a pure function.
#pragma once

#include <string>

#include "control/bgp/intent.h"

namespace podwire::control::bgp {

std::string render(const Intent& intent);

// The name of the function that a BGPFilter's rules become, within BIRD's 64 characters: what is
// longer is cut and told apart by a hash.
std::string filter_function(const std::string& filter, bool import, net::Family family);

// Private to rendering: the functions of every filter that a peer uses.
std::string render_filters(const Intent& intent);
std::string render_community(const kube::Community& community);

}  // namespace podwire::control::bgp
