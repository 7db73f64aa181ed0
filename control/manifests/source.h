// Objects from a watched folder of manifests. Here podwire plays the controllers that it needs of a
// cluster: EndpointSlices of selectors, Namespaces. Control thread only.
#pragma once

#include <memory>
#include <string>

#include "control/object_source.h"

namespace boost::asio {
class io_context;
}

namespace podwire::control::manifests {

class ManifestSource final : public ObjectSource {
 public:
  ManifestSource(boost::asio::io_context& io, std::string folder);
  ~ManifestSource() override;

  [[nodiscard]] std::string name() const override;
  void start(ObjectSink& sink) override;
  void stop() override;
  void complete(StoreWriter& store) override;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace podwire::control::manifests
