// One manifest file -> the objects in it and what is wrong with the others. Thread-safe: a pure
// function.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/kube/objects.h"

namespace podwire::control::manifests {

using ObjectKey = std::pair<kube::Kind, std::string>;  // with Meta::full_name()

struct FileProblem {
  int line = 1;
  std::string text;  // "services.yaml:12: Service default/web: spec.ports[0].port: ..."
  bool operator==(const FileProblem&) const = default;
};

struct FileObject {
  ObjectKey key;
  int line = 1;
  kube::Object object;
};

struct FileContent {
  std::vector<FileObject> objects;    // in their order; each key once
  std::vector<FileProblem> problems;  // in order of lines
  std::vector<ObjectKey> refused;     // objects that are there but wrong
  std::vector<FileObject> stand_ins;  // of those, for what was never right (DecodeError::stand_in)
  bool holds_unknown = false;         // something wrong of which the object cannot be told
};

// Whether the folder's file of that name is read at all: *.yaml, *.yml and *.json, without what
// editors leave behind.
bool is_manifest_name(std::string_view name);

// `name` is the file's, for messages and Meta::origin.
FileContent read_manifest(const std::string& name, std::string_view text);

}  // namespace podwire::control::manifests
