// Objects from a Kubernetes API server. Nothing is synced before the first whole list of every
// kind; when the server cannot be read, the last state stays in force and health() says why.
// Control thread only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "control/apiserver/access.h"
#include "control/apiserver/reflector.h"
#include "control/object_source.h"

namespace boost::asio {
class io_context;
}

namespace podwire::control::apiserver {

class ApiSource final : public ObjectSource {
 public:
  // `load` is asked anew for every request. Without `bgp` nothing is asked for that only BGP needs.
  ApiSource(boost::asio::io_context& io, Credentials::Load load, bool bgp, Limits limits = {});
  ~ApiSource() override;

  [[nodiscard]] std::string name() const override;
  void start(ObjectSink& sink) override;
  void stop() override;
  [[nodiscard]] ObjectClient* client() const override;
  [[nodiscard]] std::vector<KindReport> report() const override;

 private:
  class Parts;
  std::shared_ptr<Parts> parts_;
};

}  // namespace podwire::control::apiserver
