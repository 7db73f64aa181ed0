// What the plugin leaves on disk for later, one file for an attachment:
// <stateDir>/<folder>/<id>-<ifname>.json. A file is there whole or not at all, and stays over a
// crash of the machine.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/cni/protocol.h"

namespace podwire::cni {

// What another than podwired keeps for an attachment: addresses of an IPAM plugin. Written before
// they are given, dropped after they are taken back, so that GC finds what an ADD that was killed
// has left.
inline constexpr const char* kMadeFolder = "made-by-plugin";

// Empty; or why it cannot be written.
std::string write_note(const std::string& state_dir, const char* folder, const AttachmentName& name,
                       const nlohmann::json& note);
std::optional<nlohmann::json> read_note(const std::string& state_dir, const char* folder,
                                        const AttachmentName& name);
// Every readable one of the folder, for GC: what writers that were killed have left half done goes.
std::vector<nlohmann::json> read_notes(const std::string& state_dir, const char* folder);
// Also what was left of writing it.
void drop_note(const std::string& state_dir, const char* folder, const AttachmentName& name);

}  // namespace podwire::cni
