// An API server's objects in memory, with its rules for writes: versions, uids, conflicts. Requests
// wait until a test lets one of them be carried out; a crash of the asker may fall before or after
// that. Against the real server: tests/kube/test_blocks.py.
#pragma once

#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "control/kube/decode.h"
#include "control/object_client.h"
#include "control/store.h"

namespace podwire::control {

class FakeObjects {
 public:
  using Key = std::pair<std::string, std::string>;  // plural, name
  std::map<Key, nlohmann::json> all;
  unsigned writes = 0;

  ObjectClient::Answer get(const Key& key) const {
    const auto found = all.find(key);
    if (found == all.end()) return failure(ObjectFailure::Why::absent);
    return found->second;
  }
  ObjectClient::Answer create(const ObjectType& type, nlohmann::json object) {
    const Key key{type.plural, object["metadata"]["name"]};
    if (all.contains(key)) return failure(ObjectFailure::Why::conflict);
    object["metadata"]["uid"] = "uid-" + std::to_string(++version_);
    return write(key, std::move(object));
  }
  ObjectClient::Answer replace(const ObjectType& type, nlohmann::json object) {
    const Key key{type.plural, object["metadata"]["name"]};
    if (!all.contains(key)) return failure(ObjectFailure::Why::absent);
    if (!same(key, object)) return failure(ObjectFailure::Why::conflict);
    return write(key, std::move(object));
  }
  ObjectClient::Answer remove(const ObjectType& type, const nlohmann::json& object) {
    const Key key{type.plural, object["metadata"]["name"]};
    if (!all.contains(key)) return failure(ObjectFailure::Why::absent);
    if (!same(key, object)) return failure(ObjectFailure::Why::conflict);
    ++writes;
    all.erase(key);
    return object;
  }
  // What a node's watch would have told it.
  void fill(Store& store) const {
    store.block_affinities.clear();
    store.ipam_blocks.clear();
    for (const auto& [key, object] : all) {
      if (key.first == "ipamhandles") continue;
      auto decoded = kube::decode(object);
      if (!decoded) continue;
      if (auto* block = std::get_if<kube::IpamBlock>(&*decoded)) {
        store.ipam_blocks[key.second] = *block;
      }
      if (auto* affinity = std::get_if<kube::BlockAffinity>(&*decoded)) {
        store.block_affinities[key.second] = *affinity;
      }
    }
  }

 private:
  static tl::unexpected<ObjectFailure> failure(ObjectFailure::Why why) {
    return tl::unexpected(ObjectFailure{why, "the server says no"});
  }
  [[nodiscard]] bool same(const Key& key, const nlohmann::json& object) const {
    const auto& now = all.at(key)["metadata"];
    const auto& then = object["metadata"];
    return now["resourceVersion"] == then["resourceVersion"] && now["uid"] == then["uid"];
  }
  ObjectClient::Answer write(const Key& key, nlohmann::json object) {
    ++writes;
    object["metadata"]["resourceVersion"] = std::to_string(++version_);
    return all[key] = std::move(object);
  }
  std::uint64_t version_ = 0;
};

// One node's way to them.
class FakeClient final : public ObjectClient {
 public:
  explicit FakeClient(FakeObjects& objects) : objects_(objects) {}

  void get(const ObjectType& type, const std::string& name, Done done) override {
    add([this, type, name] { return objects_.get({type.plural, name}); }, std::move(done));
  }
  void create(const ObjectType& type, const nlohmann::json& object, Done done) override {
    add([this, type, object] { return objects_.create(type, object); }, std::move(done));
  }
  void replace(const ObjectType& type, const nlohmann::json& object, Done done) override {
    add([this, type, object] { return objects_.replace(type, object); }, std::move(done));
  }
  void remove(const ObjectType& type, const nlohmann::json& object, Done done) override {
    add([this, type, object] { return objects_.remove(type, object); }, std::move(done));
  }

  [[nodiscard]] bool waits() const { return !waiting_.empty(); }
  // The request is carried out; the asker hears of it, or not: then as if no answer came.
  void carry_out(bool heard = true) {
    auto [act, done] = std::move(waiting_.front());
    waiting_.pop_front();
    const Answer answer = act();
    if (heard) return done(answer);
    done(tl::unexpected(ObjectFailure{ObjectFailure::Why::unknown, "no answer came"}));
  }
  // The asker is gone: what it had asked for last may still be carried out.
  void crash(bool last_is_done) {
    if (last_is_done && waits()) waiting_.front().first();
    waiting_.clear();
  }

 private:
  using Act = std::function<Answer()>;
  void add(Act act, Done done) { waiting_.emplace_back(std::move(act), std::move(done)); }

  FakeObjects& objects_;
  std::deque<std::pair<Act, Done>> waiting_;
};

}  // namespace podwire::control
