// A manifest file of any bytes, as far as the store: what each fuzzer of manifests does with it.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>

#include "control/manifests/endpoints.h"
#include "control/manifests/manifest_file.h"
#include "control/manifests/namespaces.h"
#include "control/store_writer.h"

namespace podwire::control::manifests {

inline void fuzz_manifest(const std::string& name, const std::uint8_t* data, std::size_t size) {
  FileContent content =
      read_manifest(name, std::string_view(reinterpret_cast<const char*>(data), size));
  for (const FileProblem& problem : content.problems) {
    // One line each, that begins with its place.
    if (problem.line < 1 || problem.text.find('\n') != std::string::npos ||
        !problem.text.starts_with(name + ":" + std::to_string(problem.line) + ": ")) {
      std::abort();
    }
  }
  // Nothing is refused without a word.
  if ((!content.refused.empty() || content.holds_unknown) && content.problems.empty()) std::abort();
  Store store;
  StoreWriter writer(store);
  std::set<ObjectKey> keys;
  for (FileObject& object : content.objects) {
    if (!keys.insert(object.key).second || kube::kind(object.object) != object.key.first) {
      std::abort();
    }
    writer.put(std::move(object.object));
  }
  ImpliedNamespaces().update(writer);
  Endpoints endpoints;
  endpoints.update(writer);
  writer.take_changes();
  for (const ObjectKey& key : keys) writer.remove(key.first, key.second);
  endpoints.update(writer);
  // With their Services gone, no computed slice is left.
  if (!store.endpoint_slices.empty()) std::abort();
}

}  // namespace podwire::control::manifests
