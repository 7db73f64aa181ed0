#include "control/build/next_hops.h"

#include "dataplane/check.h"

namespace podwire::control::build {
namespace {

constexpr std::size_t kFreedBeforeReuse = 4096;

// FNV-1a: the same in every podwired.
std::uint64_t identity_of(const std::string& meaning) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : meaning) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

}  // namespace

void NextHops::begin() {
  for (Place& place : places_) place.said = false;
}

void NextHops::end() {
  for (auto it = numbers_.begin(); it != numbers_.end();) {
    Place& place = places_[it->second];
    if (place.said) {
      ++it;
      continue;
    }
    place = Place();
    freed_.push_back(it->second);
    it = numbers_.erase(it);
  }
}

bool NextHops::said(const std::string& meaning) const {
  const auto found = numbers_.find(meaning);
  return found != numbers_.end() && places_[found->second].said;
}

bool NextHops::say(const std::string& meaning, const tables::NextHop& hop) {
  Place& place = places_[number(meaning)];
  if (place.said) return false;
  place.said = true;
  place.hop = hop;
  return true;
}

void NextHops::say_several(const std::string& meaning, const Paths& paths) {
  Place& place = places_[number(meaning)];
  place.said = true;
  place.hop = tables::NextHop();
  place.hop.kind = tables::NextHopKind::several;
  if (place.group != nullptr) return;  // the same meaning has the same paths
  std::vector<tables::PathGroup::Path> all;
  for (const auto& [path, weight] : paths) {
    const auto known = numbers_.find(path);
    check(known != numbers_.end(), "a path that nobody has said");
    all.push_back({known->second, weight, identity_of(path)});
  }
  place.group = std::make_shared<tables::PathGroup>(all);
}

void NextHops::set_twin(const std::string& meaning, const std::string& twin) {
  const tables::NextHopId id = number(twin);
  places_[number(meaning)].hop.pod_source_twin = id;
}

tables::NextHopId NextHops::number(const std::string& meaning) {
  const auto [place, added] = numbers_.try_emplace(meaning, 0);
  if (!added) return place->second;
  if (freed_.size() > kFreedBeforeReuse) {
    place->second = freed_.front();
    freed_.pop_front();
  } else {
    place->second = static_cast<tables::NextHopId>(places_.size());
    places_.emplace_back();
  }
  return place->second;
}

void NextHops::write(tables::RouteTable& table) const {
  table.next_hops.clear();
  table.next_hops.reserve(places_.size());
  table.groups.clear();
  for (const Place& place : places_) {
    table.next_hops.push_back(place.hop);
    if (place.group == nullptr) continue;
    table.next_hops.back().group = static_cast<std::uint32_t>(table.groups.size());
    table.groups.push_back(place.group);
  }
}

}  // namespace podwire::control::build
