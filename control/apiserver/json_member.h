// Members of JSON that may be anything at all. Thread-safe: pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace podwire::control::apiserver {

// Null when it is no object or has no such member.
inline const nlohmann::json* find_member(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto member = object.find(key);
  return member == object.end() ? nullptr : &*member;
}

// Empty when there is no such member or it is no string.
inline std::string text_member(const nlohmann::json& object, const char* key) {
  const auto* const member = find_member(object, key);
  return member != nullptr && member->is_string() ? member->get<std::string>() : "";
}

}  // namespace podwire::control::apiserver
