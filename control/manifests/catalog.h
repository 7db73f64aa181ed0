// What the files of a folder say together: which file gives which object, the last good version of
// what is broken now, and one winner where two files give the same. Control thread only.
//
// Rules: an object is given by one file, the first in force staying so (of several that come at
// once, the first by file name); a version that a file still vouches for goes before one that is
// only kept. A wrong object keeps its last good version of the same file; a policy that never had
// one is stood in for. Where it cannot be told which object is wrong (a syntax error, an unknown
// kind), the whole file's missing objects are kept.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/manifests/manifest_file.h"

namespace podwire::control::manifests {

class Catalog {
 public:
  struct Out {
    std::function<void(kube::Object)> put;
    std::function<void(const ObjectKey&)> remove;
  };

  // Files that are new, changed, or gone (nullopt), all at once: an object that moves from one to
  // another is neither removed nor doubled.
  void update(std::map<std::string, std::optional<FileContent>> files, const Out& out);

  // By file and line.
  [[nodiscard]] std::vector<std::string> problems() const;
  // A file that could not be read: its last content stays, this is said about it.
  void set_unreadable(const std::string& file, std::string sentence);

 private:
  struct Version {
    kube::Object object;
    int line = 1;
    bool fresh = true;      // false: kept from an earlier content of the file
    bool stand_in = false;  // for an object that was never right
  };
  struct File {
    std::map<ObjectKey, Version> versions;
    std::vector<FileProblem> problems;
    std::string unreadable;
  };
  struct Claim {
    std::set<std::string> files;
    std::string holder;  // empty: nothing in force
  };

  void replace(const std::string& name, std::optional<FileContent> content,
               std::set<ObjectKey>& touched);
  void settle(const ObjectKey& key, const std::set<std::string>& changed, const Out& out);
  [[nodiscard]] const std::string& choose(const ObjectKey& key, const Claim& claim) const;

  std::map<std::string, File> files_;
  std::map<ObjectKey, Claim> claims_;
  std::set<ObjectKey> doubled_;
};

}  // namespace podwire::control::manifests
