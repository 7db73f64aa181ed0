#include "control/apiserver/collection.h"

#include <gtest/gtest.h>

#include <set>

namespace podwire::control::apiserver {
namespace {

using kube::Kind;
using nlohmann::json;

class CollectionTest : public testing::Test, protected ObjectSink {
 protected:
  void put(kube::Object object) override {
    const std::string name = kube::meta(object).full_name();
    calls.push_back("put " + name);
    in_force.insert(name);
  }
  void remove(Kind kind, const std::string& name) override {
    EXPECT_TRUE(kind == Kind::service || kind == Kind::network_policy);
    calls.push_back("remove " + name);
    in_force.erase(name);
  }
  void synced() override {}
  void problems(std::vector<std::string> /*all*/) override {}
  void health(bool /*healthy*/, const std::string& /*sentence*/) override {}

  // An item as it stands in a list: without kind and apiVersion.
  static json service(const std::string& name, int port = 80) {
    return {{"metadata", {{"name", name}, {"namespace", "a"}, {"resourceVersion", "5"}}},
            {"spec", {{"clusterIP", "10.96.0.1"}, {"ports", {{{"port", port}}}}}}};
  }
  void list(const std::vector<json>& items, bool whole = true) {
    collection.begin_list();
    for (const json& item : items) {
      std::string text = item.dump();
      collection.take_item(text, "v1");
    }
    if (whole) collection.end_list();
  }
  void event(const char* type, json object) {
    object["kind"] = "Service";
    object["apiVersion"] = "v1";
    std::string text = json{{"type", type}, {"object", std::move(object)}}.dump();
    collection.apply(read_event(text));
  }

  std::vector<std::string> calls;
  std::set<std::string> in_force;
  Collection collection{Kind::service, *this};
};

using Names = std::set<std::string>;

TEST_F(CollectionTest, ANewListIsComparedAndNeverFlushed) {
  list({service("x"), service("y"), service("z")});
  EXPECT_EQ(in_force, (Names{"a/x", "a/y", "a/z"}));
  calls.clear();
  list({service("x"), service("w")});
  EXPECT_EQ(in_force, (Names{"a/x", "a/w"}));
  // What stays is never taken away in between; what is gone goes last.
  ASSERT_EQ(calls.size(), 4U);
  EXPECT_EQ(calls[0], "put a/x");
  EXPECT_EQ(calls[1], "put a/w");
  EXPECT_EQ((Names{calls[2], calls[3]}), (Names{"remove a/y", "remove a/z"}));
}

TEST_F(CollectionTest, AListThatBreaksOffRemovesNothing) {
  list({service("x"), service("y")});
  list({service("x")}, false);
  EXPECT_EQ(in_force, (Names{"a/x", "a/y"}));
  list({service("y")});
  EXPECT_EQ(in_force, Names{"a/y"});
}

TEST_F(CollectionTest, AWrongObjectKeepsItsLastGoodVersionAndIsNamed) {
  list({service("x"), service("y")});
  calls.clear();
  list({service("x", 70000), service("y")});
  EXPECT_EQ(calls, std::vector<std::string>{"put a/y"});
  EXPECT_EQ(collection.problems(),
            std::vector<std::string>{
                "Service a/x: spec.ports[0].port: 70000 is not between 1 and 65535"});
  event("MODIFIED", service("y", 0));
  EXPECT_EQ(collection.problems().size(), 2U);
  EXPECT_EQ(in_force, (Names{"a/x", "a/y"}));
  event("MODIFIED", service("x", 81));
  EXPECT_EQ(collection.problems().size(), 1U);
  event("DELETED", service("y", 0));
  EXPECT_TRUE(collection.problems().empty());
  EXPECT_EQ(in_force, Names{"a/x"});
}

TEST_F(CollectionTest, AWrongPolicyIsStoodInForUntilItIsRightOnce) {
  Collection policies{Kind::network_policy, *this};
  const auto tell = [&](const char* type, const char* app, int port) {
    const json spec{{"podSelector", json::object()},
                    {"ingress", {{{"ports", {{{"port", port}}}}}}}};
    std::string text = json{
        {"type", type},
        {"object",
         {{"kind", "NetworkPolicy"},
          {"apiVersion", "networking.k8s.io/v1"},
          {"metadata", {{"name", app}, {"namespace", "a"}}},
          {"spec", spec}}}}.dump();
    policies.apply(read_event(text));
  };
  tell("ADDED", "p", 0);
  tell("MODIFIED", "p", -1);
  EXPECT_EQ(std::exchange(calls, {}), (std::vector<std::string>{"put a/p", "put a/p"}));
  EXPECT_EQ(policies.problems().size(), 1U);
  tell("MODIFIED", "p", 80);
  EXPECT_EQ(std::exchange(calls, {}), std::vector<std::string>{"put a/p"});
  EXPECT_TRUE(policies.problems().empty());
  tell("MODIFIED", "p", 0);  // its last good version stays
  EXPECT_TRUE(calls.empty());
  tell("DELETED", "p", 0);
  tell("ADDED", "p", 0);
  EXPECT_EQ(calls, (std::vector<std::string>{"remove a/p", "put a/p"}));
}

TEST_F(CollectionTest, AWrongObjectThatIsGoneIsForgotten) {
  list({service("x", 70000)});
  EXPECT_EQ(collection.problems().size(), 1U);
  list({});
  EXPECT_TRUE(collection.problems().empty());
  EXPECT_TRUE(calls.empty());
}

TEST_F(CollectionTest, WhatCannotBeNamedMayBeAnyThatIsMissing) {
  list({service("x"), service("y")});
  collection.begin_list();
  std::string broken = "{\"metadata\":{\"name\":\"x\\ud800\"}}";
  collection.take_item(broken, "v1");
  collection.end_list();
  EXPECT_EQ(in_force, (Names{"a/x", "a/y"}));
  EXPECT_EQ(collection.problems(),
            std::vector<std::string>{"an object that is not JSON is left out"});
  collection.begin_list();
  collection.take_oversized();
  collection.end_list();
  EXPECT_EQ(in_force, (Names{"a/x", "a/y"}));
  list({service("x")});
  EXPECT_EQ(in_force, Names{"a/x"});
  EXPECT_TRUE(collection.problems().empty());
}

TEST_F(CollectionTest, ADeletionOfWhatIsNotKnownIsNothing) {
  event("DELETED", service("x"));
  EXPECT_TRUE(calls.empty());
}

TEST(WatchEvent, ReadsTypeVersionAndObject) {
  std::string text = R"({"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"99"}}})";
  const WatchEvent bookmark = read_event(text);
  EXPECT_EQ(bookmark.type, WatchEvent::Type::bookmark);
  EXPECT_EQ(bookmark.resource_version, "99");
  for (std::string wrong : {"{}", "[]", R"({"type":"ADDED"})", R"({"type":1,"object":{}})",
                            R"({"type":"NEWS","object":{}})", "{\"type\":"}) {
    EXPECT_EQ(read_event(wrong).type, WatchEvent::Type::unknown) << wrong;
  }
  std::string odd = R"({"type":"ADDED","object":{"metadata":{"resourceVersion":5}}})";
  EXPECT_EQ(read_event(odd).resource_version, "");
}

}  // namespace
}  // namespace podwire::control::apiserver
