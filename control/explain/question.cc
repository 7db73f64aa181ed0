#include "control/explain/question.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace podwire::control::explain {
namespace {

using nlohmann::json;

constexpr std::pair<const char*, std::uint8_t> kProtocols[] = {
    {"TCP", 6}, {"UDP", 17}, {"SCTP", 132}, {"ICMP", 1}, {"ICMPv6", 58}};

bool same_letters(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

template <typename T>
std::optional<T> number(std::string_view text) {
  T value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || rest != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<std::uint8_t> read_protocol(std::string_view text) {
  for (const auto& [name, known] : kProtocols) {
    if (same_letters(text, name)) return known;
  }
  if (const auto given = number<std::uint8_t>(text)) return *given;
  return fail("protocol: \"" + std::string(text) +
              "\" is not TCP, UDP, SCTP, ICMP, ICMPv6 or a number from 0 to 255");
}

Result<void> read_port(std::string_view text, Question& question) {
  if (!has_ports(question.protocol)) {
    return text.empty() ? Result<void>{}
                        : fail("port: " + protocol_name(question.protocol) + " has no ports");
  }
  if (text.empty()) return fail("port: is not given");
  if (std::ranges::none_of(text, [](unsigned char c) { return std::isalpha(c) != 0; })) {
    const auto given = number<std::uint16_t>(text);
    if (!given || *given == 0) {
      return fail("port: " + std::string(text) + " is not between 1 and 65535");
    }
    question.port = *given;
  } else {
    question.port_name = text;
  }
  return {};
}

// A line is read without a tree of it: that would cost as much as the answer.
class LineReader final : public json::json_sax_t {
 public:
  std::array<std::string, 4> fields;
  std::string error;

  bool null() override { return refuse(); }
  bool boolean(bool /*value*/) override { return refuse(); }
  bool number_float(double /*value*/, const std::string& /*text*/) override { return refuse(); }
  bool binary(json::binary_t& /*value*/) override { return refuse(); }
  bool number_integer(std::int64_t value) override { return take(std::to_string(value), true); }
  bool number_unsigned(std::uint64_t value) override { return take(std::to_string(value), true); }
  bool string(std::string& text) override { return take(std::move(text), false); }
  bool start_object(std::size_t /*size*/) override { return ++depth_ == 1 || refuse(); }
  bool start_array(std::size_t /*size*/) override { return refuse(); }
  bool end_object() override { return true; }
  bool end_array() override { return true; }
  bool key(std::string& name) override {
    field_ = static_cast<std::size_t>(std::ranges::find(kFields, name) - kFields.begin());
    if (field_ < kFields.size()) return true;
    error = "\"" + name + "\" is no part of a question: from, to, protocol, port";
    return false;
  }
  bool parse_error(std::size_t /*at*/, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    error = kNoObject;
    return false;
  }

 private:
  static constexpr std::array<std::string_view, 4> kFields{"from", "to", "protocol", "port"};
  static constexpr const char* kNoObject = "the line is not a JSON object";

  bool refuse() {
    error = depth_ == 0 ? kNoObject : std::string(kFields[field_]) + ": is not a string";
    return false;
  }
  bool take(std::string text, bool is_number) {
    if (depth_ == 0 || (is_number && field_ < 2)) return refuse();
    fields[field_] = std::move(text);
    return true;
  }

  std::size_t field_ = 0;
  unsigned depth_ = 0;
};

}  // namespace

std::string protocol_name(std::uint8_t protocol) {
  for (const auto& [name, known] : kProtocols) {
    if (known == protocol) return name;
  }
  return std::to_string(protocol);
}

bool has_ports(std::uint8_t protocol) {
  return protocol == 6 || protocol == 17 || protocol == 132;
}

Result<Question> make_question(std::string from, std::string to, std::string_view protocol,
                               std::string_view port) {
  Question question;
  if (from.empty()) return fail("from: is not given");
  if (to.empty()) return fail("to: is not given");
  question.from = std::move(from);
  question.to = std::move(to);
  const auto known = read_protocol(protocol);
  if (!known) return tl::unexpected(known.error());
  question.protocol = *known;
  if (auto read = read_port(port, question); !read) return tl::unexpected(read.error());
  return question;
}

Result<Question> parse_question(std::string_view line) {
  LineReader reader;
  if (!json::sax_parse(line, &reader)) return fail(std::move(reader.error));
  auto& [from, to, protocol, port] = reader.fields;
  return make_question(std::move(from), std::move(to), protocol.empty() ? "TCP" : protocol, port);
}

}  // namespace podwire::control::explain
