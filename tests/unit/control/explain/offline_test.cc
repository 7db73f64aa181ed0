#include "control/explain/offline.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "control/explain/explainer.h"
#include "tests/unit/control/source_root.h"

namespace podwire::control::explain {
namespace {

using nlohmann::json;

class Offline : public testing::Test {
 protected:
  ~Offline() override { std::filesystem::remove_all(folder); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder / name) << text;
  }
  json ask(const std::string& line) {
    Explainer explainer(store, "", 1000);
    return json::parse(explainer.answer_lines(line));
  }
  std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / ("explain-" + std::to_string(getpid()));
  Store store;
  std::vector<std::string> problems;
};

TEST_F(Offline, AnswersOfTheExampleOfTwoNodes) {
  ASSERT_TRUE(load_folder(std::string(kSourceRoot) + "/conf/examples/two-nodes", store, problems));
  EXPECT_TRUE(problems.empty()) << problems.front();
  const json allowed = ask(R"({"from":"default/client-a","to":"service:guarded/vault","port":80})");
  EXPECT_EQ(allowed["verdict"], "allow") << allowed;
  EXPECT_EQ(allowed["ingress"]["policy"], "guarded/vault-ingress");
  const json refused = ask(R"({"from":"guarded/stranger","to":"guarded/vault","port":8080})");
  EXPECT_EQ(refused["verdict"], "deny");
  EXPECT_EQ(refused["egress"]["policy"], "guarded/stranger-egress");
  EXPECT_EQ(refused["ingress"]["policy"], "guarded/vault-ingress");
  const json six = ask(R"({"from":"fd00:10:244:1::40","to":"fd00:10:244:2::10","port":8080})");
  EXPECT_EQ(six["verdict"], "allow") << six;
  EXPECT_EQ(six["egress"]["rule"], 0);
}

TEST_F(Offline, NamesWhatIsWrongAndAnswersByTheRest) {
  std::filesystem::create_directory(folder);
  write("pods.yaml", R"(
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: d, labels: {app: a}}
spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: d}
spec: {containers: [{name: c}]}
)");
  write("bad.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: d}\n"
        "spec: {clusterIP: 10.96.0.1, ports: [{port: 70000}]}\n");
  write("policy.yaml", R"(
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: d}
spec: {podSelector: {matchLabels: {app: a}}, ingress: [{ports: [{port: 80}]}]}
)");
  ASSERT_TRUE(load_folder(folder, store, problems));
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_TRUE(problems[0].starts_with("bad.yaml:4: Service d/s: spec.ports[0].port: 70000"))
      << problems[0];
  // Neither has an address yet.
  EXPECT_EQ(ask(R"({"from":"d/b","to":"d/a","port":80})")["verdict"], "allow");
  const json refused = ask(R"({"from":"d/b","to":"d/a","port":81})");
  EXPECT_EQ(refused["ingress"]["nearest"]["text"],
            "policy d/p ingress[0] allows TCP 80, asked was TCP 81");
  EXPECT_EQ(ask(R"({"from":"node","to":"d/a","port":81})")["verdict"], "unknown");
}

TEST_F(Offline, RefusesAFolderThatIsNotThere) {
  const auto loaded = load_folder(folder / "none", store, problems);
  ASSERT_FALSE(loaded);
  EXPECT_NE(loaded.error().message.find("none"), std::string::npos);
}

}  // namespace
}  // namespace podwire::control::explain
