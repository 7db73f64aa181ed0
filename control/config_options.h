// The one table of options: what each is called, means and accepts. Private to control/config.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "control/config.h"
#include "dataplane/result.h"

namespace podwire::control::options {

using Values = std::vector<std::string>;  // more than one only for lists

struct Option {
  const char* section;
  const char* name;
  const char* value;  // what stands for the value in --help; null: true or false
  std::string default_text;
  std::string help;
  std::function<Result<void>(Config&, const Values&)> set;
  bool list = false;
};

// In the order of --help; options of one section stand together.
const std::vector<Option>& table();
const Option* find_option(const std::string& name);

std::optional<std::uint64_t> whole_number(const std::string& text);
bool is_dns_name(const std::string& name);  // RFC 1123 subdomain, as Kubernetes names nodes

}  // namespace podwire::control::options
