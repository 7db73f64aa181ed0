#include "control/manifests/catalog.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace podwire::control::manifests {

void Catalog::replace(const std::string& name, std::optional<FileContent> content,
                      std::set<ObjectKey>& touched) {
  std::map<ObjectKey, Version> before;
  if (const auto place = files_.find(name); place != files_.end()) {
    before = std::move(place->second.versions);
  }
  for (const auto& [key, version] : before) {
    touched.insert(key);
    claims_[key].files.erase(name);
  }
  files_.erase(name);
  if (!content) return;

  File& file = files_[name];
  file.problems = std::move(content->problems);
  for (FileObject& object : content->objects) {
    touched.insert(object.key);
    file.versions.emplace(object.key, Version{std::move(object.object), object.line, true});
  }
  const std::set<ObjectKey> refused(content->refused.begin(), content->refused.end());
  for (auto& [key, version] : before) {
    if (!content->holds_unknown && !refused.contains(key)) continue;
    if (version.stand_in && refused.contains(key)) continue;  // its next one follows
    version.fresh = false;
    file.versions.emplace(key, std::move(version));  // unless the file gives it anew
  }
  for (FileObject& object : content->stand_ins) {
    touched.insert(object.key);
    // Unless the file has a last good version, or gives the object a second time, and rightly.
    file.versions.emplace(object.key, Version{std::move(object.object), object.line, false, true});
  }
  for (const auto& [key, version] : file.versions) claims_[key].files.insert(name);
}

const std::string& Catalog::choose(const ObjectKey& key, const Claim& claim) const {
  const auto rank = [&](const std::string& name) {
    const bool fresh = files_.at(name).versions.at(key).fresh;
    return std::tuple(!fresh, name != claim.holder);
  };
  return *std::ranges::min_element(claim.files, {}, rank);
}

void Catalog::settle(const ObjectKey& key, const std::set<std::string>& changed, const Out& out) {
  const auto place = claims_.find(key);
  Claim& claim = place->second;
  if (claim.files.size() > 1) {
    doubled_.insert(key);
  } else {
    doubled_.erase(key);
  }
  if (claim.files.empty()) {
    if (!claim.holder.empty()) out.remove(key);
    claims_.erase(place);
    return;
  }
  const std::string& winner = choose(key, claim);
  if (winner == claim.holder && !changed.contains(winner)) return;
  claim.holder = winner;
  out.put(files_.at(winner).versions.at(key).object);
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): its contents are moved away
void Catalog::update(std::map<std::string, std::optional<FileContent>> files, const Out& out) {
  std::set<ObjectKey> touched;
  std::set<std::string> changed;
  for (auto& [name, content] : files) {
    changed.insert(name);
    replace(name, std::move(content), touched);
  }
  for (const ObjectKey& key : touched) settle(key, changed, out);
}

void Catalog::set_unreadable(const std::string& file, std::string sentence) {
  files_[file].unreadable = std::move(sentence);
}

std::vector<std::string> Catalog::problems() const {
  std::vector<std::tuple<std::string, int, std::string>> all;
  for (const auto& [name, file] : files_) {
    for (const FileProblem& problem : file.problems) {
      all.emplace_back(name, problem.line, problem.text);
    }
    if (!file.unreadable.empty()) all.emplace_back(name, 0, name + ": " + file.unreadable);
  }
  for (const ObjectKey& key : doubled_) {
    const Claim& claim = claims_.at(key);
    const Version& held = files_.at(claim.holder).versions.at(key);
    for (const std::string& name : claim.files) {
      const Version& version = files_.at(name).versions.at(key);
      // A version that is only kept is no second place: its file has a problem of its own.
      if (name == claim.holder || !version.fresh) continue;
      all.emplace_back(name, version.line,
                       name + ":" + std::to_string(version.line) + ": " +
                           kube::kind_and_name(version.object) +
                           ": metadata.name: is given already at " + claim.holder + ":" +
                           std::to_string(held.line) + ", which stays in force");
    }
  }
  std::ranges::sort(all);
  std::vector<std::string> texts;
  texts.reserve(all.size());
  for (auto& [name, line, text] : all) texts.push_back(std::move(text));
  return texts;
}

}  // namespace podwire::control::manifests
