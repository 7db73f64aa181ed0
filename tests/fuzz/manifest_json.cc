#include "tests/fuzz/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  podwire::control::manifests::fuzz_manifest("x.json", data, size);
  return 0;
}
