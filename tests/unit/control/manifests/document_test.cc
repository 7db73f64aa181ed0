#include "control/manifests/document.h"

#include <gtest/gtest.h>

namespace podwire::control::manifests {
namespace {

using nlohmann::json;

json one_yaml(const std::string& text) {
  const ParsedText parsed = parse_yaml(text);
  EXPECT_TRUE(parsed.problems.empty()) << parsed.problems[0].sentence;
  EXPECT_EQ(parsed.documents.size(), 1) << text;
  return parsed.documents.size() == 1 ? parsed.documents[0].value : json();
}
SyntaxProblem only_problem(const ParsedText& parsed) {
  EXPECT_EQ(parsed.problems.size(), 1);
  return parsed.problems.empty() ? SyntaxProblem{0, ""} : parsed.problems[0];
}

TEST(Yaml, ResolvesPlainScalarsAndLeavesQuotedOnes) {
  struct Case {
    const char* yaml;
    json value;
  };
  const Case cases[] = {{"80", 80},
                        {"\"80\"", "80"},
                        {"'80'", "80"},
                        {"-5", -5},
                        {"+5", 5},
                        {"0x1f", 31},
                        {"0o17", 15},
                        {"010", "010"},
                        {"0", 0},
                        {"1.5", 1.5},
                        {"1e3", 1000.0},
                        {".5", 0.5},
                        {"1.2.3", "1.2.3"},
                        {"10.0.0.0/8", "10.0.0.0/8"},
                        {"18446744073709551615", 18446744073709551615ULL},
                        {"18446744073709551616", "18446744073709551616"},
                        {"true", true},
                        {"False", false},
                        {"yes", "yes"},
                        {"no", "no"},
                        {"on", "on"},
                        {"\"true\"", "true"},
                        {"null", nullptr},
                        {"~", nullptr},
                        {"", nullptr},
                        {"\"\"", ""},
                        {"'null'", "null"},
                        {".inf", ".inf"},
                        {"-", json::array({nullptr})},
                        {"2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"},
                        {"!!str 80", "80"},
                        {"!!int \"80\"", 80},
                        {"|\n  80\n", "80\n"}};
  for (const Case& c : cases) {
    const json document = one_yaml(std::string("a: ") + (c.value.is_array() ? "\n" : "") + c.yaml);
    EXPECT_EQ(document, json({{"a", c.value}})) << c.yaml;
  }
}

TEST(Yaml, KeepsKeysAsText) {
  EXPECT_EQ(one_yaml("1: a\ntrue: b\n\"x y\": c\n"),
            json::parse(R"({"1":"a","true":"b","x y":"c"})"));
}

TEST(Yaml, KnowsTheLineOfEveryValue) {
  const ParsedText parsed = parse_yaml(R"(# comment
kind: Service
spec:
  ports:
    - port: 80
    - name: x
      port: 81
---
kind: Pod
)");
  ASSERT_EQ(parsed.documents.size(), 2);
  const Lines& lines = parsed.documents[0].lines;
  EXPECT_EQ(lines.find(""), 2);
  EXPECT_EQ(lines.find("kind"), 2);
  EXPECT_EQ(lines.find("spec.ports[0].port"), 5);
  EXPECT_EQ(lines.find("spec.ports[1].port"), 7);
  // What is not there is where the value around it is.
  EXPECT_EQ(lines.find("spec.ports[1].nodePort"), 6);
  EXPECT_EQ(lines.find("metadata.name"), 2);
  EXPECT_EQ(parsed.documents[1].lines.find("kind"), 9);
}

TEST(Yaml, SkipsEmptyDocuments) {
  const ParsedText parsed = parse_yaml("%YAML 1.2\n---\n# nothing\n---\na: 1\n---\n\n--- # end\n");
  ASSERT_EQ(parsed.documents.size(), 1);
  EXPECT_EQ(parsed.documents[0].value, json({{"a", 1}}));
  EXPECT_TRUE(parsed.problems.empty());
  EXPECT_TRUE(parse_yaml("").documents.empty());
}

TEST(Yaml, ABrokenDocumentLeavesTheOthers) {
  const ParsedText parsed = parse_yaml("a: 1\n---\nb: [1\nc: }\n---\nd: 2\n");
  ASSERT_EQ(parsed.documents.size(), 2);
  EXPECT_EQ(parsed.documents[0].value, json({{"a", 1}}));
  EXPECT_EQ(parsed.documents[1].value, json({{"d", 2}}));
  const SyntaxProblem problem = only_problem(parsed);
  EXPECT_EQ(problem.line, 4);
  EXPECT_TRUE(problem.sentence.starts_with("is not YAML: ")) << problem.sentence;
}

TEST(Yaml, DashesInsideTextAreNoDocument) {
  EXPECT_EQ(one_yaml("a: |\n  x\n  ---\n  y\n")["a"], "x\n---\ny\n");
  EXPECT_EQ(one_yaml("---x: 1\n"), json({{"---x", 1}}));
}

TEST(Yaml, FollowsAliasesAndMergesMaps) {
  EXPECT_EQ(one_yaml("a: &x {p: 1, q: 2}\nb: *x\nc:\n  <<: *x\n  q: 3\n"),
            json::parse(R"({"a":{"p":1,"q":2},"b":{"p":1,"q":2},"c":{"p":1,"q":3}})"));
  EXPECT_EQ(one_yaml("a: &x {p: 1}\nb: &y {p: 2, r: 4}\nc: {<<: [*x, *y]}\n")["c"],
            json::parse(R"({"p":1,"r":4})"));
  EXPECT_EQ(one_yaml("a: &x name\n*x : 1\n"), json::parse(R"({"a":"name","name":1})"));
}

TEST(Yaml, RefusesWhatItCannotHold) {
  std::string deep = "a: ";
  for (int i = 0; i < 70; ++i) deep += '[';
  deep += std::string(70, ']');
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 9; ++i) {
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) bomb += (k > 0 ? ",*a" : "*a") + std::to_string(i - 1);
    bomb += "]\n";
  }
  struct Case {
    std::string yaml;
    int line;
    const char* sentence;
  };
  const Case cases[] = {
      {"a: 1\nb: 2\na: 3\n", 3, "gives \"a\" twice in one map"},
      {deep, 1, "is nested deeper than 64 levels"},
      {bomb, 6, "has aliases (\"*\") that stand for more than 1000000 values"},
      {"a:\n  &x [1, *x]\n", 2, "has an alias (\"*\") inside the value it stands for"},
      {"[a, b]: 1\n", 1, "has a map's key that is no text"},
      {"a: {<<: 7}\n", 1, "merges (\"<<\") what is no map"},
      {"a: *nowhere\n", 1, "is not YAML: the referenced anchor is not defined"},
      {",", 1, "is not YAML: no document can begin here"},  // yaml-cpp never ends on it
      {"# a\n\n, b\n", 3, "is not YAML: no document can begin here"},
      {"a:\n\tb: 1\n", 2, "is not YAML: illegal map value"}};
  for (const Case& c : cases) {
    const SyntaxProblem problem = only_problem(parse_yaml(c.yaml));
    EXPECT_EQ(problem.sentence, c.sentence);
    EXPECT_EQ(problem.line, c.line) << c.sentence;
  }
}

TEST(Json, ReadsDocumentsWithTheirLines) {
  const ParsedText parsed =
      parse_json("{\n \"a\": [\n  1,\n  2\n ],\n \"b\": \"x\"\n}\n\n{\"c\":\"80\"}\nnull\n");
  ASSERT_TRUE(parsed.problems.empty()) << parsed.problems[0].sentence;
  ASSERT_EQ(parsed.documents.size(), 2);
  EXPECT_EQ(parsed.documents[0].value, json::parse(R"({"a":[1,2],"b":"x"})"));
  const Lines& lines = parsed.documents[0].lines;
  EXPECT_EQ(lines.find(""), 1);
  EXPECT_EQ(lines.find("a"), 2);
  EXPECT_EQ(lines.find("a[0]"), 3);
  EXPECT_EQ(lines.find("a[1]"), 4);
  EXPECT_EQ(lines.find("b"), 6);
  EXPECT_EQ(parsed.documents[1].value, json::parse(R"({"c":"80"})"));
  EXPECT_EQ(parsed.documents[1].lines.find("c"), 9);
}

TEST(Json, RefusesBrokenTextWithItsLine) {
  const ParsedText parsed = parse_json("{\"a\":1}\n{\"b\":\n,}\n{\"c\":1}");
  EXPECT_EQ(parsed.documents.size(), 1);
  const SyntaxProblem problem = only_problem(parsed);
  EXPECT_EQ(problem.line, 3);
  EXPECT_TRUE(problem.sentence.starts_with("is not JSON: syntax error")) << problem.sentence;
  EXPECT_EQ(only_problem(parse_json(R"({"a":1,"a":2})")).sentence, "gives \"a\" twice in one map");
  EXPECT_EQ(only_problem(parse_json(std::string(100, '['))).sentence,
            "is nested deeper than 64 levels");
  EXPECT_EQ(only_problem(parse_json("{")).line, 1);
}

}  // namespace
}  // namespace podwire::control::manifests
