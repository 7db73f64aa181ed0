#include "control/explain/offline.h"

#include <boost/asio/io_context.hpp>
#include <utility>

#include "control/manifests/source.h"
#include "control/store_writer.h"

namespace podwire::control::explain {
namespace {

class Sink final : public ObjectSink {
 public:
  explicit Sink(Store& store) : writer(store) {}
  void put(kube::Object object) override { writer.put(std::move(object)); }
  void remove(kube::Kind kind, const std::string& name) override { writer.remove(kind, name); }
  void synced() override {}
  void problems(std::vector<std::string> all) override { lines = std::move(all); }
  void health(bool healthy, const std::string& sentence) override {
    trouble = healthy ? "" : sentence;
  }

  StoreWriter writer;
  std::vector<std::string> lines;
  std::string trouble;
};

}  // namespace

Result<void> load_folder(const std::string& folder, Store& store,
                         std::vector<std::string>& problems) {
  boost::asio::io_context io;
  Sink sink(store);
  manifests::ManifestSource source(io, folder);
  source.start(sink);  // reads every file before it returns
  source.complete(sink.writer);
  source.stop();
  if (!sink.trouble.empty()) return fail(sink.trouble);
  problems = std::move(sink.lines);
  store.synced = true;
  return {};
}

}  // namespace podwire::control::explain
