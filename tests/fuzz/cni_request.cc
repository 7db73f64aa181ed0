// What arrives on cni.sock: never a crash; what is accepted is safe as a file's name and comes out
// of its own encoding unchanged.
#include <cstdlib>
#include <string>

#include "control/cni/protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string line(reinterpret_cast<const char*>(data), size);
  std::string error;
  const auto request = podwire::cni::parse_request(line, error);
  if (!request) {
    if (error.empty()) std::abort();
    return 0;
  }
  if (request->container_id.find('/') != std::string::npos) std::abort();
  if (request->interface.find('/') != std::string::npos) std::abort();
  const std::string encoded = podwire::cni::to_json(*request).dump();
  const auto again = podwire::cni::parse_request(encoded, error);
  if (!again || podwire::cni::to_json(*again).dump() != encoded) std::abort();
  (void)podwire::cni::parse_reply(line);
  return 0;
}
