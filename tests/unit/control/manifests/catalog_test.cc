#include "control/manifests/catalog.h"

#include <gtest/gtest.h>

namespace podwire::control::manifests {
namespace {

std::string pod(const std::string& name, const std::string& app = "a") {
  return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", labels: {app: " + app +
         "}}\n";
}
std::string bad_pod(const std::string& name) {
  return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec: {hostNetwork: 7}\n";
}

// A catalogue and what is in force by it: "Pod default/web" to its label app.
struct InForce {
  void update(std::map<std::string, std::optional<std::string>> files) {
    std::map<std::string, std::optional<FileContent>> contents;
    for (const auto& [name, text] : files) {
      contents[name] = text ? std::optional(read_manifest(name, *text)) : std::nullopt;
    }
    puts = removes = 0;
    catalog.update(std::move(contents), {.put =
                                             [this](kube::Object object) {
                                               ++puts;
                                               apps[kube::meta(object).full_name()] =
                                                   kube::meta(object).labels["app"];
                                             },
                                         .remove =
                                             [this](const ObjectKey& key) {
                                               ++removes;
                                               EXPECT_EQ(apps.erase(key.second), 1);
                                             }});
  }
  using Apps = std::map<std::string, std::string>;
  Catalog catalog;
  Apps apps;
  int puts = 0, removes = 0;
};

TEST(Catalog, FollowsFilesThatComeChangeAndGo) {
  InForce in;
  in.update({{"a.yaml", pod("x") + pod("y")}, {"b.yaml", pod("z")}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/x", "a"}, {"default/y", "a"}, {"default/z", "a"}}));
  in.update({{"a.yaml", pod("y", "b") + pod("w")}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/y", "b"}, {"default/w", "a"}, {"default/z", "a"}}));
  in.update({{"a.yaml", std::nullopt}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/z", "a"}}));
  EXPECT_TRUE(in.catalog.problems().empty());
}

TEST(Catalog, KeepsEverythingOfAFileWithASyntaxError) {
  InForce in;
  in.update({{"a.yaml", pod("x") + pod("y")}});
  in.update({{"a.yaml", pod("x", "b") + "---\nkind: [\n"}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/x", "b"}, {"default/y", "a"}}));
  ASSERT_EQ(in.catalog.problems().size(), 1);
  EXPECT_TRUE(in.catalog.problems()[0].starts_with("a.yaml:")) << in.catalog.problems()[0];
  in.update({{"a.yaml", pod("x", "b")}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/x", "b"}}));
  EXPECT_TRUE(in.catalog.problems().empty());
}

TEST(Catalog, KeepsTheLastGoodVersionOfABadObjectOnly) {
  InForce in;
  in.update({{"a.yaml", pod("x") + pod("y") + pod("z")}});
  in.update({{"a.yaml", bad_pod("x") + pod("y", "b")}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/x", "a"}, {"default/y", "b"}}));
  EXPECT_EQ(in.catalog.problems(),
            std::vector<std::string>{
                "a.yaml:5: Pod default/x: spec.hostNetwork: 7 is not true or false"});
  // Still kept when the file is read again, and gone with the file.
  in.update({{"a.yaml", bad_pod("x") + pod("y", "c")}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/x", "a"}, {"default/y", "c"}}));
  in.update({{"a.yaml", std::nullopt}});
  EXPECT_TRUE(in.apps.empty());
}

// With its port as label: 0 is none, and allows nothing.
std::string policy(int port, const std::string& app) {
  return "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, labels: "
         "{app: " +
         app + "}}\nspec: {podSelector: {}, ingress: [{ports: [{port: " + std::to_string(port) +
         "}]}]}\n";
}

TEST(Catalog, AWrongPolicyIsStoodInForUntilItIsRightOnce) {
  InForce in;
  in.update({{"a.yaml", policy(0, "first") + pod("x")}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/p", "first"}, {"default/x", "a"}}));
  EXPECT_EQ(in.catalog.problems().size(), 1);
  in.update({{"a.yaml", policy(0, "second")}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/p", "second"}}));
  in.update({{"a.yaml", policy(80, "good")}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/p", "good"}}));
  in.update({{"a.yaml", policy(0, "bad")}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/p", "good"}}));
  in.update({{"b.yaml", policy(0, "elsewhere")}, {"a.yaml", std::nullopt}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/p", "elsewhere"}}));
  in.update({{"b.yaml", std::nullopt}});
  EXPECT_TRUE(in.apps.empty());
}

TEST(Catalog, KeepsMissingObjectsBesideAnUnknownKind) {
  InForce in;
  in.update({{"a.yaml", pod("x") + pod("y")}});
  in.update({{"a.yaml", "apiVersion: v1\nkind: Pob\nmetadata: {name: x}\n" + pod("y")}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/x", "a"}, {"default/y", "a"}}));
}

TEST(Catalog, TheFirstOfTwoStays) {
  InForce in;
  in.update({{"b.yaml", pod("x", "b")}});
  in.update({{"a.yaml", pod("w") + pod("x", "a")}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/w", "a"}, {"default/x", "b"}}));
  EXPECT_EQ(in.catalog.problems(),
            std::vector<std::string>{"a.yaml:6: Pod default/x: metadata.name: is given already at "
                                     "b.yaml:2, which stays in force"});
  // The second takes over where the first goes.
  in.update({{"b.yaml", std::nullopt}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/w", "a"}, {"default/x", "a"}}));
  EXPECT_TRUE(in.catalog.problems().empty());
}

TEST(Catalog, OfTwoAtOnceTheFirstByNameHolds) {
  InForce in;
  in.update({{"b.yaml", pod("x", "b")}, {"a.yaml", pod("x", "a")}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/x", "a"}}));
  EXPECT_EQ(in.catalog.problems().size(), 1);
}

TEST(Catalog, AKeptVersionGivesWayToAGoodOneElsewhere) {
  InForce in;
  in.update({{"a.yaml", pod("x", "a")}});
  in.update({{"a.yaml", bad_pod("x")}, {"b.yaml", pod("x", "b")}});
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/x", "b"}}));
  EXPECT_EQ(in.catalog.problems().size(), 1);  // of a.yaml alone
}

TEST(Catalog, AnObjectThatMovesIsNotRemoved) {
  InForce in;
  in.update({{"a.yaml", pod("x")}});
  in.update({{"a.yaml", std::nullopt}, {"b.yaml", pod("x")}});
  EXPECT_EQ(in.removes, 0);
  EXPECT_EQ(in.apps.size(), 1);
}

TEST(Catalog, AFileThatCannotBeReadKeepsItsObjects) {
  InForce in;
  in.update({{"a.yaml", pod("x")}});
  in.catalog.set_unreadable("a.yaml", "cannot be read: Permission denied");
  EXPECT_EQ(in.catalog.problems(),
            std::vector<std::string>{"a.yaml: cannot be read: Permission denied"});
  in.update({{"a.yaml", pod("x", "b")}});
  EXPECT_TRUE(in.catalog.problems().empty());
  EXPECT_EQ(in.apps, (InForce::Apps{{"default/x", "b"}}));
}

TEST(ManifestFile, ReadsListsAndSaysWhereItemsAreWrong) {
  const FileContent content = read_manifest("l.yaml", R"(apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Pod
    metadata: {name: x}
  - apiVersion: v1
    kind: Service
    metadata: {name: s, namespace: shop}
    spec:
      clusterIP: 10.96.0.1
      ports:
        - port: 70000
  - apiVersion: v1
    kind: Pod
    metadata: {name: x}
)");
  ASSERT_EQ(content.objects.size(), 1);
  EXPECT_EQ(content.objects[0].line, 4);
  EXPECT_EQ(kube::meta(content.objects[0].object).origin, "l.yaml:4");
  ASSERT_EQ(content.problems.size(), 2);
  EXPECT_EQ(content.problems[0].text,
            "l.yaml:13: Service shop/s: spec.ports[0].port: 70000 is not between 1 and 65535");
  EXPECT_EQ(content.problems[1].text,
            "l.yaml:16: Pod default/x: metadata.name: is given already at l.yaml:4, which stays in "
            "force");
  EXPECT_EQ(content.refused, (std::vector<ObjectKey>{{kube::Kind::service, "shop/s"}}));
  EXPECT_FALSE(content.holds_unknown);
}

TEST(ManifestFile, RefusesWhatNobodyAllocates) {
  const auto problem = [](const std::string& spec) {
    const FileContent content = read_manifest(
        "s.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: " + spec);
    return content.problems.empty() ? "" : content.problems[0].text;
  };
  EXPECT_EQ(problem("{ports: [{port: 80}]}"),
            "s.yaml:4: Service default/s: spec.clusterIP: is not given; podwire allocates none; "
            "give one or None");
  EXPECT_EQ(problem("{clusterIP: None}"), "");
  EXPECT_EQ(problem("{type: ExternalName, externalName: x.example}"), "");
  EXPECT_EQ(problem("{type: NodePort, clusterIP: 10.96.0.1, ports: [{port: 80}]}"),
            "s.yaml:4: Service default/s: spec.ports[0].nodePort: is not given; podwire allocates "
            "none; give one");
  EXPECT_EQ(problem("{type: LoadBalancer, clusterIP: 10.96.0.1, ports: [{port: 80}]}"), "");
}

TEST(ManifestFile, RefusesWhatIsNoText) {
  for (const char* bytes :
       {"a: \xff", "a: \xc0\x80", "a: \xed\xa0\x80", "a: \xf5\x80\x80\x80", "a: \xe2\x82"}) {
    const FileContent content = read_manifest("x.yaml", std::string("k: 1\n") + bytes);
    ASSERT_EQ(content.problems.size(), 1) << bytes;
    EXPECT_EQ(content.problems[0].text, "x.yaml:2: is not UTF-8 text");
    EXPECT_TRUE(content.holds_unknown);
  }
  const FileContent good = read_manifest(
      "x.yaml",
      "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n  annotations: {a: \"\xe2\x82\xac"
      "\xf0\x9f\x98\x80\"}\n");
  EXPECT_TRUE(good.problems.empty());
}

TEST(ManifestFile, MessagesAreOneLineEach) {
  const FileContent content =
      read_manifest("x.yaml", "apiVersion: v1\nkind: \"a\\nb\"\nmetadata: {name: \"c\\td\"}\n");
  ASSERT_EQ(content.problems.size(), 1);
  EXPECT_EQ(content.problems[0].text.find_first_of("\n\t"), std::string::npos);
}

TEST(ManifestFile, KnowsWhichNamesAreManifests) {
  for (const char* name : {"a.yaml", "a.yml", "a.json", "a.b.yaml"}) {
    EXPECT_TRUE(is_manifest_name(name)) << name;
  }
  for (const char* name : {".a.yaml", ".a.yaml.swp", "#a.yaml#", ".#a.yaml", "a.yaml~", "4913",
                           "a.yaml.tmp", "..data", "", "a.txt", "yaml"}) {
    EXPECT_FALSE(is_manifest_name(name)) << name;
  }
}

}  // namespace
}  // namespace podwire::control::manifests
