#include "control/kube/calico_selector.h"

#include <gtest/gtest.h>

namespace podwire::control::kube {
namespace {

const Labels kLabels{{"role", "web"}, {"zone", "eu-1"}, {"a.b/c-d", "x y"}, {"empty", ""}};

TEST(CalicoSelector, Matches) {
  const std::pair<const char*, bool> rows[] = {
      {"", true},
      {"all()", true},
      {"global( )", true},
      {"!all()", false},
      {"has(role)", true},
      {"has(nothing)", false},
      {"!has(nothing)", true},
      {"role == 'web'", true},
      {"role=='db'", false},
      {"role != \"db\"", true},
      {"nothing != 'db'", true},
      {"nothing == ''", false},
      {"empty == ''", true},
      {"a.b/c-d == 'x y'", true},
      {"role in {'db', \"web\"}", true},
      {"role in {}", false},
      {"role not in {}", true},
      {"role not in {'web'}", false},
      {"nothing not in {'web'}", true},
      {"nothing in {'web'}", false},
      {"zone starts with 'eu'", true},
      {"zone ends with '1'", true},
      {"zone contains 'u-'", true},
      {"zone contains 'us'", false},
      {"nothing contains ''", false},
      {"role == 'db' || zone == 'eu-1' && has(empty)", true},
      {"(role == 'db' || zone == 'eu-1') && !has(empty)", false},
      {"!(role == 'web' && has(nothing))", true},
      {"  has( role )\t&&\nhas(zone)  ", true},
  };
  for (const auto& [text, expected] : rows) {
    const auto selector = CalicoSelector::parse(text);
    ASSERT_TRUE(selector) << text << ": " << selector.error().message;
    EXPECT_EQ(selector->matches(kLabels), expected) << text;
  }
}

// Labels may be named as the language's own words are.
TEST(CalicoSelector, WordsAreLabelsToo) {
  const Labels labels{{"in", "1"}, {"has", "2"}, {"all", "3"}, {"instance", "4"}};
  for (const char* text :
       {"in == '1'", "has == '2'", "all in {'3'}", "instance == '4'", "has(instance)"}) {
    const auto selector = CalicoSelector::parse(text);
    ASSERT_TRUE(selector) << text;
    EXPECT_TRUE(selector->matches(labels)) << text;
  }
}

TEST(CalicoSelector, RefusesWithItsPlace) {
  const std::pair<std::string, const char*> rows[] = {
      {"role = 'web'",
       "at character 6 a comparison (==, !=, in, not in, contains, starts with) is "
       "expected"},
      {"role == web", "at character 9 a value in quotes is expected"},
      {"role == 'web", "at character 9 a value in quotes is expected"},
      {"has(role", "at character 9 ')' is expected"},
      {"role in {'a' 'b'}", "at character 14 '}' is expected"},
      {"has(a) has(b)", "at character 8 && or || is expected"},
      {"&& has(a)", "at character 1 a label is expected"},
      {"has(a) ||", "at character 10 a label is expected"},
      {"zone starts 'a'", "at character 13 'with' is expected"},
      {std::string(100, '(') + "has(a)" + std::string(100, ')'),
       "at character 65 less nesting is expected"},
  };
  for (const auto& [text, sentence] : rows) {
    const auto selector = CalicoSelector::parse(text);
    ASSERT_FALSE(selector) << text;
    EXPECT_EQ(selector.error().message, sentence) << text;
  }
}

}  // namespace
}  // namespace podwire::control::kube
