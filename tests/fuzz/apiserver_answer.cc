// What an API server answers, cut into pieces anywhere: a list and then a watch, as far as the
// store. The first byte chooses the pieces' size.
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>

#include "control/apiserver/collection.h"
#include "control/apiserver/failure.h"
#include "control/apiserver/json_stream.h"
#include "control/store_writer.h"

namespace podwire::control::apiserver {
namespace {

constexpr std::size_t kMaxItem = 4096;

class Sink final : public ObjectSink {
 public:
  void put(kube::Object object) override { store_.put(std::move(object)); }
  void remove(kube::Kind kind, const std::string& name) override { store_.remove(kind, name); }
  void synced() override {}
  void problems(std::vector<std::string> /*all*/) override {}
  void health(bool /*healthy*/, const std::string& /*sentence*/) override {}

  Store all;

 private:
  StoreWriter store_{all};
};

// Feeds all of it; an item is never larger than the limit, and never empty.
template <typename Item>
void feed(JsonStream::Shape shape, std::string_view text, std::size_t piece, Item item) {
  JsonStream stream(shape,
                    {.item =
                         [&](std::string& one) {
                           if (one.empty() || one.size() > kMaxItem) std::abort();
                           return item(one);
                         },
                     .member = [](const std::string&, std::string&) { return true; },
                     .oversized = [] { return true; }},
                    kMaxItem);
  while (!text.empty()) {
    if (!stream.feed(text.substr(0, piece))) break;
    text.remove_prefix(std::min(piece, text.size()));
  }
  if (stream.complete() && !stream.problem().empty() && shape == JsonStream::Shape::list) {
    std::abort();
  }
}

void answer(std::string_view text, std::size_t piece) {
  Sink sink;
  Collection collection(kube::Kind::service, sink);
  collection.begin_list();
  feed(JsonStream::Shape::list, text, piece, [&](std::string& item) {
    collection.take_item(item, "v1");
    return true;
  });
  collection.end_list();
  feed(JsonStream::Shape::values, text, piece, [&](std::string& item) {
    const WatchEvent event = read_event(item);
    switch (event.type) {
      case WatchEvent::Type::added:
      case WatchEvent::Type::modified:
      case WatchEvent::Type::deleted:
        collection.apply(event);
        return true;
      default:
        return event.type != WatchEvent::Type::unknown;
    }
  });
  // Only Services were asked for; a headless one of another proxy is known and not in force.
  if (!sink.all.pods.empty() || sink.all.services.size() > collection.size()) std::abort();
  for (const std::string& problem : collection.problems()) {
    if (problem.empty()) std::abort();
  }
  read_status(text);
  // An empty list takes everything away.
  collection.begin_list();
  collection.end_list();
  if (!sink.all.services.empty() || collection.size() != 0) std::abort();
}

}  // namespace
}  // namespace podwire::control::apiserver

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  podwire::control::apiserver::answer(text, data[0] % 64 + 1);
  return 0;
}
