// A JSON value and where it stands in its object, for decoding with messages that name the field.
// The first wrong field is kept and every later read goes on with defaults, so that decoders need
// no branches for errors. Control thread only.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/kube/objects.h"
#include "dataplane/net/address.h"

namespace podwire::control::kube {

struct FieldProblem {
  std::string field;     // "spec.ports[0].port"; empty: the object as a whole
  std::string sentence;  // "70000 is not between 1 and 65535"
};

// Refers to the JSON and the problem given at its construction; both must outlive it.
// Null counts as absent, as it does for the API server.
class Reader {
 public:
  Reader(const nlohmann::json& value, std::optional<FieldProblem>& problem)
      : value_(&value), problem_(&problem) {}

  [[nodiscard]] bool present() const { return value_ != nullptr && !value_->is_null(); }
  [[nodiscard]] bool is_text() const { return value_ != nullptr && value_->is_string(); }
  [[nodiscard]] const std::string& path() const { return path_; }
  // Records the sentence unless an earlier field was wrong already.
  void refuse(std::string sentence) const;
  void refuse(const FieldProblem& problem) const {
    if (!*problem_) *problem_ = problem;
  }
  // The same value; what is wrong with it is recorded there instead.
  [[nodiscard]] Reader recording_in(std::optional<FieldProblem>& problem) const {
    return {value_, path_, &problem};
  }
  // The value as a message quotes it, cut to a readable length: 70000, "yes", {...}.
  [[nodiscard]] std::string shown() const;

  // Member of an object; absent when this is absent. Refused when this is no object.
  Reader operator[](std::string_view key) const;
  // The names of an object's members, in their order; none of what is no object.
  [[nodiscard]] std::vector<std::string> keys() const;
  // Elements of a list; none when absent. Refused when this is no list.
  [[nodiscard]] std::vector<Reader> elements() const;

  // All of these answer the default when absent or refused.
  [[nodiscard]] std::string text() const;
  [[nodiscard]] bool boolean(bool otherwise) const;
  [[nodiscard]] std::int64_t integer(std::int64_t least, std::int64_t most,
                                     std::int64_t otherwise) const;
  [[nodiscard]] Labels text_map() const;  // refused where a value is no string
  [[nodiscard]] std::vector<std::string> text_list() const;

  // Zeros in front of decimal parts are accepted where `sloppy`, as Kubernetes does in Services
  // (k8s.io/utils/net ParseIPSloppy).
  [[nodiscard]] std::optional<net::Address> address(bool sloppy = false) const;
  // With a length: a bare address is refused.
  [[nodiscard]] std::optional<net::Prefix> prefix(bool strict = false, bool sloppy = false) const;
  [[nodiscard]] std::uint16_t port(std::uint16_t otherwise = 0) const;
  [[nodiscard]] std::uint8_t protocol() const;  // TCP when absent
  // A number 1..65535 or a port's name; number 0 and no name when absent.
  [[nodiscard]] IntOrString port_or_name() const;

  // One of `names`, by index; `otherwise` when absent or refused.
  [[nodiscard]] std::size_t one_of(std::initializer_list<std::string_view> names,
                                   std::size_t otherwise) const;

 private:
  Reader(const nlohmann::json* value, std::string path, std::optional<FieldProblem>* problem)
      : value_(value), path_(std::move(path)), problem_(problem) {}

  const nlohmann::json* value_;  // null: absent
  std::string path_;
  std::optional<FieldProblem>* problem_;
};

// As k8s.io/apimachinery/pkg/util/validation has them.
bool is_dns_label(std::string_view text);      // RFC 1123: a-z 0-9 -, at most 63
bool is_dns_subdomain(std::string_view text);  // labels joined by dots, at most 253
bool is_label_key(std::string_view text);      // [prefix/]name
bool is_label_value(std::string_view text);
bool is_port_name(std::string_view text);  // IANA_SVC_NAME, RFC 6335: at most 15, one letter

// "010.0.0.001" is 10.0.0.1.
std::optional<net::Address> parse_sloppy_address(std::string_view text);

}  // namespace podwire::control::kube
