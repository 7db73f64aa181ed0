#include "control/kube/reader.h"

#include <algorithm>
#include <cctype>

namespace podwire::control::kube {
namespace {

using nlohmann::json;

constexpr std::size_t kShownLength = 80;

bool is_lower_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool is_letter_or_digit(char c) {
  return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

// Letters and digits at both ends; between them also '-', '_' and '.'.
bool is_qualified_name(std::string_view text) {
  return !text.empty() && text.size() <= 63 && is_letter_or_digit(text.front()) &&
         is_letter_or_digit(text.back()) && std::ranges::all_of(text, [](char c) {
           return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.';
         });
}

std::string without_leading_zeros(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool starts_part = i == 0 || text[i - 1] == '.' || text[i - 1] == ':';
    if (starts_part) {
      while (text[i] == '0' && i + 1 < text.size() &&
             std::isdigit(static_cast<unsigned char>(text[i + 1])) != 0) {
        ++i;
      }
    }
    out += text[i];
  }
  return out;
}

}  // namespace

bool is_dns_label(std::string_view text) {
  return !text.empty() && text.size() <= 63 && is_lower_or_digit(text.front()) &&
         is_lower_or_digit(text.back()) &&
         std::ranges::all_of(text, [](char c) { return is_lower_or_digit(c) || c == '-'; });
}

bool is_dns_subdomain(std::string_view text) {
  if (text.empty() || text.size() > 253) return false;
  while (true) {
    const auto dot = text.find('.');
    const auto part = text.substr(0, dot);
    // A part is not held to 63 characters (IsDNS1123Subdomain).
    if (part.empty() || !is_lower_or_digit(part.front()) || !is_lower_or_digit(part.back()) ||
        !std::ranges::all_of(part, [](char c) { return is_lower_or_digit(c) || c == '-'; })) {
      return false;
    }
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

bool is_label_key(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return is_qualified_name(text);
  return is_dns_subdomain(text.substr(0, slash)) && is_qualified_name(text.substr(slash + 1));
}

bool is_label_value(std::string_view text) {
  return text.empty() || is_qualified_name(text);
}

bool is_port_name(std::string_view text) {
  return is_dns_label(text) && text.size() <= 15 && text.find("--") == std::string_view::npos &&
         std::ranges::any_of(text, [](char c) { return c >= 'a' && c <= 'z'; });
}

std::optional<net::Address> parse_sloppy_address(std::string_view text) {
  if (const auto address = net::Address::parse(text)) return address;
  if (text.find('.') == std::string_view::npos) return std::nullopt;
  return net::Address::parse(without_leading_zeros(text));
}

void Reader::refuse(std::string sentence) const {
  if (!*problem_) *problem_ = FieldProblem{path_, std::move(sentence)};
}

std::string Reader::shown() const {
  if (!present()) return "nothing";
  if (value_->is_object()) return "{...}";
  if (value_->is_array()) return "[...]";
  std::string text = value_->dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > kShownLength) {
    text.resize(kShownLength);
    text += "...";
  }
  return text;
}

Reader Reader::operator[](std::string_view key) const {
  std::string path = path_.empty() ? std::string(key) : path_ + "." + std::string(key);
  if (!present()) return {nullptr, std::move(path), problem_};
  if (!value_->is_object()) {
    refuse(shown() + " is not a set of fields");
    return {nullptr, std::move(path), problem_};
  }
  const auto member = value_->find(key);
  return {member == value_->end() ? nullptr : &*member, std::move(path), problem_};
}

std::vector<std::string> Reader::keys() const {
  std::vector<std::string> all;
  if (!present() || !value_->is_object()) return all;
  for (const auto& [key, value] : value_->items()) all.push_back(key);
  return all;
}

std::vector<Reader> Reader::elements() const {
  std::vector<Reader> all;
  if (!present()) return all;
  if (!value_->is_array()) {
    refuse(shown() + " is not a list");
    return all;
  }
  all.reserve(value_->size());
  for (std::size_t i = 0; i < value_->size(); ++i) {
    all.push_back(Reader(&(*value_)[i], path_ + "[" + std::to_string(i) + "]", problem_));
  }
  return all;
}

std::string Reader::text() const {
  if (!present()) return {};
  if (value_->is_string()) return value_->get_ref<const std::string&>();
  refuse(shown() + " is not a string" + (value_->is_structured() ? "" : "; put it in quotes"));
  return {};
}

bool Reader::boolean(bool otherwise) const {
  if (!present()) return otherwise;
  if (value_->is_boolean()) return value_->get<bool>();
  refuse(shown() + " is not true or false");
  return otherwise;
}

std::int64_t Reader::integer(std::int64_t least, std::int64_t most, std::int64_t otherwise) const {
  if (!present()) return otherwise;
  if (!value_->is_number_integer()) {
    refuse(shown() + " is not a whole number" +
           (value_->is_string() ? "; write it without quotes" : ""));
    return otherwise;
  }
  const bool beyond =
      value_->is_number_unsigned() && value_->get<std::uint64_t>() > std::uint64_t{INT64_MAX};
  const auto number = beyond ? INT64_MAX : value_->get<std::int64_t>();
  if (number >= least && number <= most) return number;
  refuse(shown() + " is not between " + std::to_string(least) + " and " + std::to_string(most));
  return otherwise;
}

Labels Reader::text_map() const {
  Labels all;
  if (!present()) return all;
  if (!value_->is_object()) {
    refuse(shown() + " is not a set of fields");
    return all;
  }
  for (const auto& [key, value] : value_->items()) {
    all.emplace(key, Reader(&value, path_ + "." + key, problem_).text());
  }
  return all;
}

std::vector<std::string> Reader::text_list() const {
  std::vector<std::string> all;
  for (const Reader& element : elements()) all.push_back(element.text());
  return all;
}

std::optional<net::Address> Reader::address(bool sloppy) const {
  if (!present()) return std::nullopt;
  const std::string given = text();
  const auto address = sloppy ? parse_sloppy_address(given) : net::Address::parse(given);
  if (!address) refuse(shown() + " is not an IP address");
  return address;
}

std::optional<net::Prefix> Reader::prefix(bool strict, bool sloppy) const {
  if (!present()) return std::nullopt;
  std::string given = text();
  const auto slash = given.find('/');
  if (slash == std::string::npos) {
    refuse(shown() + " is not a CIDR such as 10.0.0.0/8");
    return std::nullopt;
  }
  if (sloppy) {
    if (const auto address = parse_sloppy_address(std::string_view(given).substr(0, slash))) {
      given = address->to_string() + given.substr(slash);
    }
  }
  const auto loose = net::Prefix::parse(given);
  if (!loose) {
    refuse(shown() + " is not a CIDR such as 10.0.0.0/8");
  } else if (strict && !net::Prefix::parse(given, true)) {
    refuse(shown() + " has bits set past its length; the network is " + loose->to_string());
    return std::nullopt;
  }
  return loose;
}

std::uint16_t Reader::port(std::uint16_t otherwise) const {
  return static_cast<std::uint16_t>(integer(1, 65535, otherwise));
}

std::uint8_t Reader::protocol() const {
  static constexpr std::uint8_t kNumbers[] = {6, 17, 132};
  return kNumbers[one_of({"TCP", "UDP", "SCTP"}, 0)];
}

IntOrString Reader::port_or_name() const {
  if (!present()) return {};
  if (!value_->is_string()) return {.number = port(), .name = {}};
  const auto& name = value_->get_ref<const std::string&>();
  if (!is_port_name(name)) {
    const bool number = std::ranges::all_of(
        name, [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; });
    refuse(shown() + (number && !name.empty()
                          ? " is a name without a letter; write the number without quotes"
                          : " is not a port's name (at most 15 of a-z 0-9 -, one a letter)"));
    return {};
  }
  return {.number = 0, .name = name};
}

std::size_t Reader::one_of(std::initializer_list<std::string_view> names,
                           std::size_t otherwise) const {
  if (!present()) return otherwise;
  if (value_->is_string()) {
    const auto* const found =
        std::ranges::find(names, std::string_view(value_->get_ref<const std::string&>()));
    if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  }
  std::string listed;
  for (const auto& name : names) {
    if (!listed.empty()) listed += &name == names.end() - 1 ? " or " : ", ";
    listed += name;
  }
  refuse(shown() + " is not " + listed);
  return otherwise;
}

}  // namespace podwire::control::kube
