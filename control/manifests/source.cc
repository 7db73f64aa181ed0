#include "control/manifests/source.h"

#include <utility>

#include "control/manifests/catalog.h"
#include "control/manifests/endpoints.h"
#include "control/manifests/folder.h"
#include "control/manifests/manifest_file.h"
#include "control/manifests/namespaces.h"

namespace podwire::control::manifests {

struct ManifestSource::Parts {
  Parts(boost::asio::io_context& io, std::string folder_path)
      : path(std::move(folder_path)),
        folder(io, path,
               {.changed = [this](Folder::Files files) { take(std::move(files)); },
                .health = [this](const std::string& trouble) { tell_health(trouble); }}) {}

  void take(Folder::Files files);
  void tell_health(const std::string& trouble) {
    sink->health(trouble.empty(), trouble.empty() ? "" : "manifests: " + path + " " + trouble);
  }

  const std::string path;
  ObjectSink* sink = nullptr;
  bool synced = false;
  Catalog catalog;
  std::vector<std::string> problems;
  Endpoints endpoints;
  ImpliedNamespaces namespaces;
  Folder folder;
};

// NOLINTNEXTLINE(performance-unnecessary-value-param): its contents are moved away
void ManifestSource::Parts::take(Folder::Files files) {
  std::map<std::string, std::optional<FileContent>> contents;
  std::map<std::string, std::string> unreadable;
  for (auto& [name, text] : files) {
    if (!text) {
      contents[name] = std::nullopt;
    } else if (*text) {
      contents[name] = read_manifest(name, **text);
    } else {
      unreadable[name] = text->error().message;
    }
  }
  catalog.update(std::move(contents),
                 {.put = [this](kube::Object object) { sink->put(std::move(object)); },
                  .remove = [this](const ObjectKey& key) { sink->remove(key.first, key.second); }});
  for (auto& [name, sentence] : unreadable) catalog.set_unreadable(name, std::move(sentence));
  if (auto now = catalog.problems(); now != problems) {
    problems = now;
    sink->problems(std::move(now));
  }
  if (!std::exchange(synced, true)) sink->synced();
}

ManifestSource::ManifestSource(boost::asio::io_context& io, std::string folder)
    : parts_(std::make_unique<Parts>(io, std::move(folder))) {}

ManifestSource::~ManifestSource() = default;

std::string ManifestSource::name() const {
  return "manifests " + parts_->path;
}

void ManifestSource::start(ObjectSink& sink) {
  parts_->sink = &sink;
  parts_->folder.start();
}

void ManifestSource::stop() {
  parts_->folder.stop();
}

void ManifestSource::complete(StoreWriter& store) {
  parts_->namespaces.update(store);
  parts_->endpoints.update(store);
}

}  // namespace podwire::control::manifests
