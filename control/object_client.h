// Reads and writes single objects of the API server: JSON in, JSON or a failure out. Nobody waits:
// answers come later, on the control thread. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <tl/expected.hpp>

namespace podwire::control {

// A kind whose objects belong to no namespace.
struct ObjectType {
  const char* api_version;  // "crd.projectcalico.org/v1"
  const char* plural;       // "ipamblocks"
  const char* kind;         // "IPAMBlock"
};

struct ObjectFailure {
  enum class Why : std::uint8_t {
    conflict,  // 409: it is there already, or was changed since it was read
    absent,    // 404
    refused,   // any other no
    unknown    // no answer: it may have been done or not
  };
  Why why = Why::unknown;
  std::string sentence;
};

class ObjectClient {
 public:
  using Answer = tl::expected<nlohmann::json, ObjectFailure>;  // the object as it now is
  // Called once, never before the call that it was given to has returned; not at all when the
  // client is destroyed first.
  using Done = std::function<void(Answer)>;
  virtual ~ObjectClient() = default;

  virtual void get(const ObjectType& type, const std::string& name, Done done) = 0;
  virtual void create(const ObjectType& type, const nlohmann::json& object, Done done) = 0;
  // Only when its metadata.resourceVersion is still what the server has.
  virtual void replace(const ObjectType& type, const nlohmann::json& object, Done done) = 0;
  // The same: this very object in this very version, else it stays.
  virtual void remove(const ObjectType& type, const nlohmann::json& object, Done done) = 0;
};

}  // namespace podwire::control
