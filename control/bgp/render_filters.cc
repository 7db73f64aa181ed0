// BGPFilter's rules as functions: each rule that matches accepts or rejects, and what no rule
// matches comes back to whoever called.
#include <charconv>

#include "control/bgp/render.h"

namespace podwire::control::bgp {
namespace {

using kube::BgpFilterOperation;
using kube::BgpFilterRule;

constexpr std::size_t kLongestSymbol = 64;  // BIRD: SYM_MAX_LEN

std::string prefix_match(const BgpFilterRule& rule) {
  const std::string cidr = rule.cidr->to_string();
  const int longest = rule.cidr->family() == net::Family::v4 ? 32 : 128;
  switch (rule.match) {
    case BgpFilterRule::Match::equal:
      return "net = " + cidr;
    case BgpFilterRule::Match::not_equal:
      return "net != " + cidr;
    case BgpFilterRule::Match::in:
    case BgpFilterRule::Match::not_in:
      break;
  }
  const int low = std::max<int>(rule.least_length.value_or(rule.cidr->length), rule.cidr->length);
  const int high = rule.most_length.value_or(longest);
  return std::string("net ") + (rule.match == BgpFilterRule::Match::in ? "~" : "!~") + " [ " +
         cidr + "{" + std::to_string(low) + "," + std::to_string(high) + "} ]";
}

std::string conditions(const BgpFilterRule& rule) {
  std::vector<std::string> all;
  if (rule.cidr) all.push_back(prefix_match(rule));
  if (rule.from_remote_peers) all.emplace_back("source = RTS_BGP");
  if (!rule.interface.empty()) all.push_back("ifname ~ \"" + rule.interface + "\"");
  if (rule.peer_type == BgpFilterRule::PeerType::ebgp) all.emplace_back("outside");
  if (rule.peer_type == BgpFilterRule::PeerType::ibgp) all.emplace_back("!outside");
  if (rule.community) {
    const bool large = rule.community->parts.size() == 3;
    all.push_back(render_community(*rule.community) +
                  (large ? " ~ bgp_large_community" : " ~ bgp_community"));
  }
  if (!rule.as_path_prefix.empty()) {
    std::string path = "bgp_path ~ [= ";
    for (const auto number : rule.as_path_prefix) path += std::to_string(number) + " ";
    all.push_back(path + "* =]");
  }
  if (rule.priority) {
    all.push_back("defined(krt_metric) && krt_metric = " + std::to_string(*rule.priority));
  }
  std::string joined;
  for (const std::string& one : all) joined += (joined.empty() ? "" : " && ") + one;
  return joined.empty() ? "true" : joined;
}

std::string operations(const BgpFilterRule& rule) {
  std::string text;
  for (const BgpFilterOperation& operation : rule.operations) {
    switch (operation.what) {
      case BgpFilterOperation::What::add_community:
        text += std::string(operation.community.parts.size() == 3 ? "bgp_large_community"
                                                                  : "bgp_community") +
                ".add(" + render_community(operation.community) + "); ";
        break;
      case BgpFilterOperation::What::prepend_as_path:  // the first of the list ends up in front
        for (auto number = operation.as_path.rbegin(); number != operation.as_path.rend();
             ++number) {
          text += "bgp_path.prepend(" + std::to_string(*number) + "); ";
        }
        break;
      case BgpFilterOperation::What::set_priority:
        text += "krt_metric = " + std::to_string(operation.priority) + "; ";
        break;
    }
  }
  return text;
}

std::string function(const std::string& name, bool import, net::Family family,
                     const std::vector<BgpFilterRule>& rules) {
  std::string text = "function " + filter_function(name, import, family) + "(bool outside) {\n";
  for (const BgpFilterRule& rule : rules) {
    text += "  if " + conditions(rule) + " then { " + operations(rule) +
            (rule.accept ? "accept" : "reject") + "; }\n";
  }
  // BIRD wants a function to have something in it.
  if (rules.empty()) text += "  if false then reject;\n";
  return text + "}\n";
}

}  // namespace

std::string render_community(const kube::Community& community) {
  std::string text = "(";
  for (const auto part : community.parts) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(part);
  }
  return text + ")";
}

std::string filter_function(const std::string& filter, bool import, net::Family family) {
  const std::string front = import ? "import_" : "export_";
  const std::string back = family == net::Family::v4 ? "_v4" : "_v6";
  std::string name = filter;
  if (front.size() + name.size() + back.size() > kLongestSymbol - 1) {
    std::uint64_t hash = 14695981039346656037U;  // FNV-1a
    for (const char c : filter) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
    char digits[16];
    const auto end = std::to_chars(digits, digits + sizeof digits, hash, 16).ptr;
    name = filter.substr(0, 36) + "_" + std::string(digits, end);
  }
  return "'" + front + name + back + "'";
}

std::string render_filters(const Intent& intent) {
  std::string text;
  for (const auto& [name, filter] : intent.filters) {
    text += function(name, true, net::Family::v4, filter.import_v4);
    text += function(name, false, net::Family::v4, filter.export_v4);
    text += function(name, true, net::Family::v6, filter.import_v6);
    text += function(name, false, net::Family::v6, filter.export_v6);
  }
  return text;
}

}  // namespace podwire::control::bgp
