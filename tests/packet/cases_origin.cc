// What podwire says itself, and when it keeps silent: RFC 1122 section 3.2.2, RFC 4443 section 2.4.
#include "tests/packet/families.h"
#include "tests/packet/raw.h"

namespace podwire::test {
namespace {

// Too large for any pod, and not to be cut.
Frame too_large(const Names& n, std::uint16_t port = 4000) {
  return udp(n.a, port, n.b, 53).with_dont_fragment().with_payload(1500);
}

Out told(const Names& n, const Frame& about) {
  return error_out("a", n.a, n.v4 ? 3 : 2, n.v4 ? 4 : 0, about.one_hop_less(), 1480);
}

FAMILY_CASE(OriginIsRateLimited) {
  World world(1, [](DataplaneConfig& config) {
    config.icmp_errors_per_second = 1;
    config.icmp_error_burst = 2;
  });
  const Frame frame = too_large(n);
  RUN(world, {.in = {{"a", frame}, {"a", frame}, {"a", frame}},
              .out = {told(n, frame), told(n, frame)},
              .counters = {{"flows_created", 1}, {"originated", 2}, {"drop.too_big", 3}}});
  RUN(world, {.in = {{"a", frame}}, .counters = {{"drop.too_big", 1}}});
  world.advance(1);
  RUN(world, {.in = {{"a", frame}},
              .out = {told(n, frame)},
              .counters = {{"originated", 1}, {"drop.too_big", 1}}});
}

FAMILY_CASE(OriginCanBeTurnedOff) {
  World world(1, [](DataplaneConfig& config) { config.icmp_errors_per_second = 0; });
  RUN(world,
      {.in = {{"a", too_large(n)}}, .counters = {{"flows_created", 1}, {"drop.too_big", 1}}});
}

FAMILY_CASE(OriginQuotesNoMoreThanFits) {
  World world;
  const Frame frame = too_large(n);
  Out out = told(n, frame);
  const auto compare = out.judge;
  out.judge = [&n, compare](const Bytes& bytes) {
    const std::size_t most = 14 + (n.v4 ? 576 : 1280);
    if (bytes.size() != most) return "has " + std::to_string(bytes.size()) + " bytes";
    return compare(bytes);
  };
  RUN(world, {.in = {{"a", frame}},
              .out = {out},
              .counters = {{"flows_created", 1}, {"originated", 1}, {"drop.too_big", 1}}});
}

FAMILY_CASE(OriginNeverAboutAnError) {
  World world;
  const Frame question = udp(n.b, 53, n.a, 4000);
  RUN(world, {.in = {{"b", question}},
              .out = {{"a", question.one_hop_less()}},
              .counters = {{"flows_created", 1}}});
  const Frame error = icmp_error(n.a, n.b, n.v4 ? 3 : 1, n.v4 ? 3 : 4, question.one_hop_less());
  RUN(world, {.in = {{"a", error.with_ttl(1)}}, .counters = {{"drop.ttl_exceeded", 1}}});
}

FAMILY_CASE(OriginNeverAboutALaterFragment) {
  World world;
  const Frame whole = udp(n.a, 4000, n.b, 53).with_payload(2000).with_id(7);
  const auto pieces = fragments(whole, 1000);
  RUN(world, {.in = {{"a", pieces[0]}},
              .out = {{"b", pieces[0].one_hop_less()}},
              .counters = {{"flows_created", 1}}});
  RUN(world, {.in = {{"a", pieces[1].with_ttl(1)}}, .counters = {{"drop.ttl_exceeded", 1}}});
}

FAMILY_CASE(OriginSpeaksAsTheNodeAndToTheNodeAsTheGateway) {
  World world;
  const auto speaks_as = [&](const char* name, const Frame& frame, const char* source) {
    Out out{.port = name};
    out.judge = [&n, source](const Bytes& bytes) {
      Bytes wanted;
      put(wanted, ip(source));
      const std::size_t at = n.v4 ? 26 : 22;
      return std::equal(wanted.begin(), wanted.end(),
                        bytes.begin() + static_cast<std::ptrdiff_t>(at))
                 ? ""
                 : "comes from another address";
    };
    return world.run({.in = {{name, frame}},
                      .out = {out},
                      .counters = {{"flows_created", 1}, {"originated", 1}, {"drop.too_big", 1}}});
  };
  EXPECT_EQ(speaks_as("a", too_large(n), n.node), "");
  EXPECT_EQ(
      speaks_as("host", too_large(n, 1).from(n.node), n.v4 ? "169.254.1.2" : "fd3b:7c41:9e02::1"),
      "");
}

FAMILY_CASE(OriginNeedsAnAddress) {
  World world;
  world.routes.has_masquerade_v4 = world.routes.has_masquerade_v6 = false;
  world.next.node_addresses.clear();
  world.publish();
  RUN(world,
      {.in = {{"a", too_large(n)}}, .counters = {{"flows_created", 1}, {"drop.too_big", 1}}});
}

}  // namespace
}  // namespace podwire::test
