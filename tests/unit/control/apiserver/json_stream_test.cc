#include "control/apiserver/json_stream.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "control/kube/decode.h"

namespace podwire::control::apiserver {
namespace {

using nlohmann::json;
using Shape = JsonStream::Shape;

struct Seen {
  std::vector<std::string> items;
  std::vector<std::pair<std::string, std::string>> members;
  unsigned oversized = 0;
  std::string problem;
  bool complete = false;
  bool operator==(const Seen&) const = default;
};

// Feeds the text in pieces of one size.
Seen feed(Shape shape, const std::string& text, std::size_t piece, std::size_t most = 1000) {
  Seen seen;
  JsonStream stream(shape,
                    {.item =
                         [&](std::string& item) {
                           seen.items.push_back(item);
                           return true;
                         },
                     .member =
                         [&](const std::string& key, std::string& value) {
                           seen.members.emplace_back(key, value);
                           return true;
                         },
                     .oversized =
                         [&] {
                           ++seen.oversized;
                           return true;
                         }},
                    most);
  for (std::size_t at = 0; at < text.size(); at += piece) {
    if (!stream.feed(std::string_view(text).substr(at, piece))) break;
  }
  seen.problem = stream.problem();
  seen.complete = stream.complete();
  return seen;
}

const std::string kList =
    R"({"kind":"PodList", "apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"x\"]}"},)"
    R"("n":-1.5e3,"t":true,"items":[{"a":"}]\\"},{"b":[1,{"c":"\""}]} , {}],"after":null})";

TEST(JsonStream, CutsAListIntoItsItemsAndMembers) {
  const Seen seen = feed(Shape::list, kList, kList.size());
  EXPECT_EQ(seen.items,
            (std::vector<std::string>{R"({"a":"}]\\"})", R"({"b":[1,{"c":"\""}]})", "{}"}));
  using Member = std::pair<std::string, std::string>;
  EXPECT_EQ(seen.members,
            (std::vector<Member>{{"kind", "\"PodList\""},
                                 {"apiVersion", "\"v1\""},
                                 {"metadata", R"({"resourceVersion":"7","continue":"x\"]}"})"},
                                 {"n", "-1.5e3"},
                                 {"t", "true"},
                                 {"after", "null"}}));
  EXPECT_TRUE(seen.complete);
  EXPECT_EQ(seen.problem, "");
}

TEST(JsonStream, CutsTheSameWhereverThePiecesEnd) {
  const Seen whole = feed(Shape::list, kList, kList.size());
  const std::string events = R"({"type":"ADDED","object":{"s":"\\\"{"}})"
                             "\n"
                             R"({"type":"X"} {})"
                             "\n";
  const Seen all = feed(Shape::values, events, events.size());
  ASSERT_EQ(all.items.size(), 3U);
  for (std::size_t piece = 1; piece < kList.size(); ++piece) {
    EXPECT_EQ(feed(Shape::list, kList, piece), whole) << piece;
    EXPECT_EQ(feed(Shape::values, events, piece), all) << piece;
  }
}

TEST(JsonStream, SaysWhenSomethingIsMissing) {
  for (std::size_t end = 1; end < kList.size(); ++end) {
    EXPECT_FALSE(feed(Shape::list, kList.substr(0, end), 100).complete) << end;
  }
  EXPECT_FALSE(feed(Shape::values, R"({"type":"ADDED")", 5).complete);
  EXPECT_TRUE(feed(Shape::values, "", 5).complete);
  EXPECT_TRUE(feed(Shape::list, R"({"items":[]})", 5).complete);
  EXPECT_TRUE(feed(Shape::list, R"({"items":null})", 5).complete);
}

TEST(JsonStream, RefusesWhatIsNoList) {
  for (const char* text : {"[]", "x", R"({"items":[1]})", R"({"a" 1})", R"({"a":1 2})", R"({,})",
                           R"({"a":})", R"({}{)", R"({"items":[{}{}]})", R"({"items":[{};{}]})"}) {
    const Seen seen = feed(Shape::list, text, 3);
    EXPECT_NE(seen.problem, "") << text;
    EXPECT_FALSE(seen.complete && seen.problem.empty()) << text;
  }
  EXPECT_NE(feed(Shape::values, "Internal error\n", 3).problem, "");
}

TEST(JsonStream, PassesOverAnItemThatIsTooLargeAndGoesOn) {
  const std::string text =
      R"({"items":[{"a":1},{"b":")" + std::string(3000, 'x') + R"("},{"c":3}],"metadata":{}})";
  for (const std::size_t piece : {std::size_t{1}, std::size_t{700}, text.size()}) {
    const Seen seen = feed(Shape::list, text, piece);
    EXPECT_EQ(seen.items, (std::vector<std::string>{R"({"a":1})", R"({"c":3})"}));
    EXPECT_EQ(seen.oversized, 1U);
    EXPECT_TRUE(seen.complete);
  }
}

TEST(JsonStream, EndsAStreamAtAValueThatIsTooLargeBeforeItsEnd) {
  const std::string text = R"({"a":1}{"b":")" + std::string(3000, 'x');
  for (const std::size_t piece : {std::size_t{1}, std::size_t{700}, text.size()}) {
    const Seen seen = feed(Shape::values, text, piece);
    EXPECT_EQ(seen.items, std::vector<std::string>{R"({"a":1})"});
    EXPECT_EQ(seen.oversized, 1U);
  }
}

TEST(JsonStream, EndsWhereAReceiverHasHadEnough) {
  unsigned items = 0;
  JsonStream stream(
      Shape::values,
      {.item = [&](std::string&) { return ++items < 2; }, .member = {}, .oversized = {}});
  EXPECT_FALSE(stream.feed("{}{}{}"));
  EXPECT_EQ(items, 2U);
  EXPECT_EQ(stream.problem(), "");
}

std::string pruned(std::string text) {
  EXPECT_TRUE(prune(text));
  return text;
}

TEST(Prune, LeavesOutMembersWhereverTheyStand) {
  EXPECT_EQ(pruned(R"({"metadata":{"managedFields":[{"a":"]}"}],"name":"x"}})"),
            R"({"metadata":{"name":"x"}})");
  EXPECT_EQ(pruned(R"({"metadata":{"name":"x","managedFields":[]}})"),
            R"({"metadata":{"name":"x"}})");
  EXPECT_EQ(pruned(R"({"metadata":{"a":1 , "managedFields" : [] , "ownerReferences":[],"b":2}})"),
            R"({"metadata":{"a":1  ,"b":2}})");
  EXPECT_EQ(pruned(R"({"metadata":{"managedFields":[],"ownerReferences":[]},"x":1})"),
            R"({"metadata":{},"x":1})");
  EXPECT_EQ(pruned(R"({"spec":{"containers":[{"env":[{"name":"A"}],"name":"c"},{"args":1}]}})"),
            R"({"spec":{"containers":[{"name":"c"},{}]}})");
  EXPECT_EQ(pruned(R"({"object":{"metadata":{"managedFields":1,"n":2}},"type":"ADDED"})"),
            R"({"object":{"metadata":{"n":2}},"type":"ADDED"})");
}

TEST(Prune, KeepsTheSameNamesElsewhere) {
  for (const char* text : {R"({"labels":{"managedFields":"x","env":"y"}})",
                           R"({"spec":{"env":[{"volumes":1}]},"volumes":2})",
                           R"({"metadata":{"labels":{"volumes":"\"metadata\":{"}}})",
                           R"({"spec":{"affinity":"host:n1","cidr":"10.0.0.0/26"}})",
                           R"({"a":["managedFields","metadata"],"metadata":["managedFields"]})"}) {
    EXPECT_EQ(pruned(text), text);
  }
}

TEST(Prune, BoundsDepth) {
  std::string deep = std::string(1000, '[') + std::string(1000, ']');
  EXPECT_FALSE(prune(deep));
}

TEST(Prune, HoldsUnderNonsense) {
  for (std::string text :
       {"{\"metadata\":{\"managedFields\"", "{\"metadata\":{\"managedFields\":]}}", "{\"a", "{]}",
        "\"", "{\"metadata\":{\"managedFields\":{\"a\":\"\\"}) {
    const std::size_t before = text.size();
    prune(text);
    EXPECT_LE(text.size(), before);
  }
}

// A pod as kubelet and a controller leave it.
const char* const kPod = R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-0",
 "namespace":"shop","uid":"u","resourceVersion":"12","labels":{"app":"web"},
 "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}\n",
   "cni.projectcalico.org/ipAddrs":"[\"10.244.1.9\"]"},
 "ownerReferences":[{"kind":"ReplicaSet"}],"managedFields":[{"manager":"kubelet"}]},
 "spec":{"nodeName":"n1","hostNetwork":false,"volumes":[{"name":"v"}],"tolerations":[{}],
  "containers":[{"name":"c","image":"i","env":[{"name":"PORTS","value":"1"}],
    "ports":[{"name":"http","containerPort":8080}],"resources":{"limits":{}}}],
  "initContainers":[{"name":"s","restartPolicy":"Always","env":[],
    "ports":[{"name":"side","containerPort":9000,"protocol":"UDP"}]}]},
 "status":{"phase":"Running","podIP":"10.244.1.5","podIPs":[{"ip":"10.244.1.5"},{"ip":"fd00::5"}],
  "conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"ready":true}]}})";
const char* const kNode = R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n1",
 "labels":{"topology.kubernetes.io/zone":"z"},
 "annotations":{"projectcalico.org/IPv4Address":"10.0.0.2/24"},"managedFields":[]},
 "spec":{"podCIDRs":["10.244.1.0/24"]},"status":{"addresses":[{"type":"InternalIP",
 "address":"10.0.0.2"}],"images":[{"names":["x"]}],"capacity":{"cpu":"2"},"nodeInfo":{}}})";

TEST(Prune, LeavesTheDecodedObjectAsItIs) {
  for (const std::string text : {kPod, kNode}) {
    const auto whole = kube::decode(json::parse(text));
    ASSERT_TRUE(whole) << whole.error().message;
    kube::Object expected = *whole;
    kube::meta(expected).annotations.erase("kubectl.kubernetes.io/last-applied-configuration");
    const std::string less = pruned(text);
    const auto decoded = kube::decode(json::parse(less));
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_TRUE(*decoded == expected);
    EXPECT_LT(less.size(), text.size());
    EXPECT_EQ(less.find("managedFields"), std::string::npos);
    EXPECT_EQ(less.find("\"env\""), std::string::npos);
  }
}

}  // namespace
}  // namespace podwire::control::apiserver
