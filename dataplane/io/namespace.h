// Doing something inside another network namespace: in a short-lived thread, so that the caller's
// threads never leave their own. Control thread.
#pragma once

#include <functional>
#include <string>

#include "dataplane/result.h"

namespace podwire::io {

// Runs `work` in the namespace at `path` ("/var/run/netns/pod1", "/proc/1/ns/net"); an empty path
// is the caller's own namespace, without a thread. Fails when the path cannot be opened or entered;
// what `work` makes of it is the caller's affair.
Result<void> in_namespace(const std::string& path, const std::function<void()>& work);

}  // namespace podwire::io
