// A folder of manifests as podwired would read it, without a podwired. Control thread only.
#pragma once

#include <string>
#include <vector>

#include "control/store.h"
#include "dataplane/result.h"

namespace podwire::control::explain {

// What is wrong in the files goes into `problems`, a line each, as podwired says it; what is right
// is in force. Refuses when the folder cannot be read.
Result<void> load_folder(const std::string& folder, Store& store,
                         std::vector<std::string>& problems);

}  // namespace podwire::control::explain
