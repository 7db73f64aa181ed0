#include "control/manifests/source.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "control/store_writer.h"

namespace podwire::control::manifests {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

std::string pod_text(const std::string& name, const std::string& app = "a") {
  return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", labels: {app: " + app +
         "}}\n";
}

class SourceTest : public testing::Test, protected ObjectSink {
 protected:
  SourceTest() {
    char name[] = "/tmp/podwire-manifests-XXXXXX";
    root = mkdtemp(name);
    folder = root / "folder";
    fs::create_directory(folder);
  }
  ~SourceTest() override {
    if (source) source->stop();
    io.poll();
    fs::remove_all(root);
  }
  void start() {
    source = std::make_unique<ManifestSource>(io, folder);
    source->start(*this);
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder / name) << text;
  }
  // Runs the loop until the condition holds. The limit is only there to end a failing test.
  template <typename Condition>
  bool wait_for(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      io.run_one_for(1s);
    }
    return true;
  }
  bool wait_for_app(const std::string& name, const std::string& app) {
    return wait_for([&] {
      const auto place = store.pods.find("default/" + name);
      return app.empty() ? place == store.pods.end()
                         : place != store.pods.end() && place->second.meta.labels["app"] == app;
    });
  }

  void put(kube::Object object) override { writer.put(std::move(object)); }
  void remove(kube::Kind kind, const std::string& name) override { writer.remove(kind, name); }
  void synced() override { ++synced_count; }
  void problems(std::vector<std::string> all) override { told = std::move(all); }
  void health(bool good, const std::string& sentence) override {
    healthy = good;
    trouble = sentence;
  }

  boost::asio::io_context io;
  fs::path root, folder;
  Store store;
  StoreWriter writer{store};
  int synced_count = 0;
  std::optional<bool> healthy;
  std::string trouble;
  std::vector<std::string> told;
  std::unique_ptr<ManifestSource> source;
};

TEST_F(SourceTest, DeliversWhatIsThereAndThenSaysSynced) {
  write("a.yaml", pod_text("x") + pod_text("y"));
  write("b.json", R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"z"}})");
  write("notes.txt", "kind: [");
  write(".hidden.yaml", "kind: [");
  fs::create_directory(folder / "sub.yaml");
  start();
  EXPECT_EQ(store.pods.size(), 3);
  EXPECT_EQ(synced_count, 1);
  EXPECT_EQ(healthy, true);
  EXPECT_TRUE(told.empty());
}

TEST_F(SourceTest, AnEmptyFolderIsComplete) {
  start();
  EXPECT_EQ(synced_count, 1);
}

TEST_F(SourceTest, PicksUpWritesRenamesAndDeletions) {
  start();
  write("a.yaml", pod_text("x"));
  ASSERT_TRUE(wait_for_app("x", "a"));
  write("a.yaml", pod_text("x", "b"));
  ASSERT_TRUE(wait_for_app("x", "b"));
  write(".a.yaml.new", pod_text("x", "c"));
  fs::rename(folder / ".a.yaml.new", folder / "a.yaml");
  ASSERT_TRUE(wait_for_app("x", "c"));
  fs::remove(folder / "a.yaml");
  ASSERT_TRUE(wait_for_app("x", ""));
  EXPECT_EQ(synced_count, 1);
}

TEST_F(SourceTest, DoesNotReadAFileBeforeItIsClosed) {
  start();
  std::ofstream slow(folder / "a.yaml");
  slow << pod_text("x") << "---\nkind: [" << std::flush;
  write("b.yaml", pod_text("y"));
  ASSERT_TRUE(wait_for_app("y", "a"));
  EXPECT_TRUE(told.empty());
  EXPECT_FALSE(store.pods.contains("default/x"));
  slow << "]\n";
  slow.close();
  ASSERT_TRUE(wait_for_app("x", "a"));
}

TEST_F(SourceTest, ASyntaxErrorKeepsTheLastGoodStateUntilItIsCorrected) {
  write("a.yaml", pod_text("x") + pod_text("y"));
  start();
  write("a.yaml", pod_text("x", "b") + "---\nkind: Pod\nmetadata: {name: y\n");
  ASSERT_TRUE(wait_for([&] { return !told.empty(); }));
  EXPECT_TRUE(told[0].starts_with("a.yaml:")) << told[0];
  EXPECT_TRUE(store.pods.contains("default/y"));
  ASSERT_TRUE(wait_for_app("x", "b"));
  write("a.yaml", pod_text("x", "c"));
  ASSERT_TRUE(wait_for([&] { return told.empty(); }));
  ASSERT_TRUE(wait_for_app("x", "c"));
  EXPECT_FALSE(store.pods.contains("default/y"));
}

// As kubelet's atomic writer does it: the files are links into a folder that is swapped.
TEST_F(SourceTest, FollowsASwappedConfigMap) {
  const auto fill = [&](const char* version, const std::string& app) {
    fs::create_directory(folder / version);
    std::ofstream(folder / version / "a.yaml") << pod_text("x", app);
  };
  fill("..1", "a");
  fs::create_directory_symlink("..1", folder / "..data");
  fs::create_symlink("..data/a.yaml", folder / "a.yaml");
  start();
  ASSERT_TRUE(wait_for_app("x", "a"));
  fill("..2", "b");
  fs::create_directory_symlink("..2", folder / "..data_tmp");
  fs::rename(folder / "..data_tmp", folder / "..data");
  fs::remove_all(folder / "..1");
  ASSERT_TRUE(wait_for_app("x", "b"));
  EXPECT_TRUE(told.empty());
}

TEST_F(SourceTest, ReadsLinksAndSaysWhenTheyLeadNowhere) {
  std::ofstream(root / "target.yaml") << pod_text("x");
  start();
  fs::create_symlink(root / "target.yaml", folder / "a.yaml");
  ASSERT_TRUE(wait_for_app("x", "a"));
  fs::remove(root / "target.yaml");
  ASSERT_TRUE(wait_for([&] { return !told.empty(); }));
  EXPECT_EQ(told[0], "a.yaml: cannot be read: No such file or directory");
  EXPECT_TRUE(store.pods.contains("default/x"));
  fs::create_hard_link(folder / "a.yaml", folder / "..x");
  std::ofstream(root / "target.yaml") << pod_text("x", "b");
  ASSERT_TRUE(wait_for_app("x", "b"));
  EXPECT_TRUE(told.empty());
}

TEST_F(SourceTest, WaitsForAFolderThatIsNotThereYet) {
  fs::remove(folder);
  start();
  EXPECT_EQ(healthy, false);
  EXPECT_EQ(trouble,
            "manifests: " + folder.string() + " cannot be watched: No such file or directory");
  EXPECT_EQ(synced_count, 0);
  fs::create_directory(folder);
  write("a.yaml", pod_text("x"));
  ASSERT_TRUE(wait_for_app("x", "a"));
  EXPECT_EQ(healthy, true);
  EXPECT_EQ(synced_count, 1);
}

TEST_F(SourceTest, KeepsItsObjectsWhileTheFolderIsAway) {
  write("a.yaml", pod_text("x"));
  start();
  fs::rename(folder, root / "away");
  ASSERT_TRUE(wait_for([&] { return healthy == false; }));
  EXPECT_TRUE(store.pods.contains("default/x"));
  fs::create_directory(folder);
  write("b.yaml", pod_text("y"));
  ASSERT_TRUE(wait_for_app("y", "a"));
  EXPECT_FALSE(store.pods.contains("default/x"));
  EXPECT_EQ(healthy, true);
}

TEST_F(SourceTest, PlaysTheControllersThatItNeeds) {
  write("a.yaml", R"(apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
status: {podIP: 10.244.1.1}
)");
  start();
  source->complete(writer);
  EXPECT_TRUE(store.namespaces.contains("shop"));
  EXPECT_NE(writer.slices_of("shop/web"), nullptr);
}

}  // namespace
}  // namespace podwire::control::manifests
