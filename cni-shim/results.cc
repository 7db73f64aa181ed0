#include "cni-shim/results.h"

namespace podwire::cni {
namespace {

using nlohmann::json;

// Empty: every item of the list is an object; a list that is missing is made.
std::string check_list(json& result, const std::string& place, const char* key) {
  const std::string name = place + "." + key;
  auto& list = result[key];
  if (list.is_null()) list = json::array();
  if (!list.is_array()) return name + " is not a list";
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_object()) return name + "[" + std::to_string(i) + "] is not an object";
  }
  return {};
}

// Of an item that is an object: "" when the key is missing or no string.
std::string text(const json& item, const char* key) {
  const auto found = item.find(key);
  return found != item.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string check_ips(json& result, const std::string& place) {
  const std::size_t interfaces = result["interfaces"].size();
  for (std::size_t i = 0; i < result["ips"].size(); ++i) {
    json& ip = result["ips"][i];
    const std::string name = place + ".ips[" + std::to_string(i) + "]";
    ip.erase("version");  // before 1.0.0
    if (text(ip, "address").empty()) return name + ".address is missing";
    const auto index = ip.find("interface");
    if (index == ip.end()) continue;
    if (!index->is_number_unsigned() || index->get<std::uint64_t>() >= interfaces) {
      return name + ".interface is not the place of an interface";
    }
  }
  return {};
}

}  // namespace

std::size_t rank(const std::string& version) {
  for (std::size_t i = 0; i < kVersions.size(); ++i) {
    if (version == kVersions[i]) return i + 1;
  }
  return 0;
}

std::optional<json> read_result(const json& result, const std::string& place, std::string& error) {
  if (!result.is_object()) {
    error = place + " is not an object";
    return std::nullopt;
  }
  const std::string version = text(result, "cniVersion");
  if (result.contains("cniVersion") && rank(version) == 0) {
    error = place + ".cniVersion is \"" + version + "\", which podwire-cni does not speak";
    return std::nullopt;
  }
  json read = result;
  read.erase("cniVersion");
  for (const char* key : {"interfaces", "ips", "routes"}) {
    error = check_list(read, place, key);
    if (!error.empty()) return std::nullopt;
  }
  error = check_ips(read, place);
  if (!error.empty()) return std::nullopt;
  if (!read.contains("dns") || !read["dns"].is_object()) read["dns"] = json::object();
  return read;
}

json convert_result(json result, const std::string& version) {
  result["cniVersion"] = version;
  if (rank(version) < rank("1.1.0")) {
    for (auto& interface : result["interfaces"]) {
      for (const char* key : {"mtu", "socketPath", "pciID"}) interface.erase(key);
    }
    for (auto& route : result["routes"]) {
      for (const char* key : {"mtu", "advmss", "priority", "table", "scope"}) route.erase(key);
    }
  }
  if (rank(version) < rank("1.0.0")) {
    for (auto& ip : result["ips"]) {
      ip["version"] = text(ip, "address").find(':') != std::string::npos ? "6" : "4";
    }
  }
  return result;
}

json chain(json previous, const json& own) {
  const std::size_t before = previous["interfaces"].size();
  for (const char* key : {"interfaces", "ips", "routes"}) {
    for (json item : own.at(key)) {
      if (item.contains("interface"))
        item["interface"] = item["interface"].get<std::size_t>() + before;
      previous[key].push_back(std::move(item));
    }
  }
  if (previous["dns"].empty()) previous["dns"] = own.at("dns");
  return previous;
}

bool has_interface(const json& result, const std::string& interface, const std::string& netns) {
  for (const json& one : result.at("interfaces")) {
    if (text(one, "name") == interface && text(one, "sandbox") == netns) return true;
  }
  return false;
}

std::vector<std::string> addresses_of(const json& result, const std::string& interface,
                                      const std::string& netns) {
  std::vector<std::string> addresses;
  for (const json& ip : result.at("ips")) {
    const auto index = ip.find("interface");
    if (index != ip.end()) {
      const json& owner = result.at("interfaces")[index->get<std::size_t>()];
      if (text(owner, "name") != interface || text(owner, "sandbox") != netns) continue;
    }
    addresses.push_back(text(ip, "address"));
  }
  return addresses;
}

}  // namespace podwire::cni
