// ObjectClient over the connections on which objects are watched. Control thread only.
#pragma once

#include <memory>
#include <string>

#include "control/apiserver/access.h"
#include "control/apiserver/transfers.h"
#include "control/object_client.h"

namespace podwire::control::apiserver {

class Client final : public ObjectClient {
 public:
  // All outlive it.
  Client(boost::asio::io_context& io, Transfers& transfers, Credentials& credentials)
      : io_(io), transfers_(transfers), credentials_(credentials) {}

  void get(const ObjectType& type, const std::string& name, Done done) override;
  void create(const ObjectType& type, const nlohmann::json& object, Done done) override;
  void replace(const ObjectType& type, const nlohmann::json& object, Done done) override;
  void remove(const ObjectType& type, const nlohmann::json& object, Done done) override;

 private:
  struct Verb {
    const char* http;
    const char* rbac;
  };
  void ask(const ObjectType& type, Verb verb, const std::string& name, std::string body, Done done);

  boost::asio::io_context& io_;
  Transfers& transfers_;
  Credentials& credentials_;
};

}  // namespace podwire::control::apiserver
