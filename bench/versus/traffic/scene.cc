#include "bench/versus/traffic/scene.h"

#include <fstream>
#include <nlohmann/json.hpp>

namespace podwire::versus {
namespace {

std::uint32_t number_of(const nlohmann::json& address) {
  return net::Address::parse(address.get<std::string>()).value().v4().host();
}

}  // namespace

Scene Scene::read(const std::string& file) {
  std::ifstream in(file);
  const auto scene = nlohmann::json::parse(in);
  Scene result{};
  result.own_mac = net::Mac::parse(scene.at("generator_mac").get<std::string>()).value();
  result.router_mac = net::Mac::parse(scene.at("router_mac").get<std::string>()).value();
  result.first_client = number_of(scene.at("first_client"));
  result.first_service = number_of(scene.at("first_service"));
  result.first_backend = number_of(scene.at("first_backend"));
  scene.at("clients").get_to(result.clients);
  scene.at("services").get_to(result.services);
  scene.at("backends").get_to(result.backends);
  scene.at("backends_per_service").get_to(result.backends_per_service);
  scene.at("service_port").get_to(result.service_port);
  scene.at("backend_port").get_to(result.backend_port);
  return result;
}

}  // namespace podwire::versus
