// The few rtnetlink requests that device drivers need (rtnetlink(7)), in the calling thread's
// network namespace. Control thread.
#pragma once

#include <string>

#include "dataplane/result.h"

namespace podwire::io {

// Bounds what the kernel hands to, and merges for, the device: IFLA_GSO_MAX_SIZE and, where the
// kernel has it, IFLA_GRO_MAX_SIZE, in bytes.
Result<void> set_link_limits(int index, unsigned max_frame);

// Frames for the device go to its driver at once, as with veth: no queueing discipline holds them
// (tc(8): noqueue). Replaces the one it has.
Result<void> take_queueing_away(int index);

// Deletes the device of that name. One that does not exist is success.
Result<void> remove_link(const std::string& interface);

// Takes a program that a killed AF_XDP process left on the device away. None is success.
Result<void> detach_xdp(const std::string& interface);

}  // namespace podwire::io
