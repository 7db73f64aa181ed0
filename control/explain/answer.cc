#include "control/explain/answer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace podwire::control::explain {
namespace {

void append_key(std::string_view key, std::string& line) {
  if (line.back() != '{') line += ',';
  line += '"';
  line += key;
  line += "\":";
}

void append_field(std::string_view key, std::string_view text, std::string& line) {
  append_key(key, line);
  append_text(text, line);
}

void append_near(const Side::Near& near, std::string& line) {
  append_key("nearest", line);
  line += '{';
  append_field("policy", near.policy, line);
  append_key("rule", line);
  line += std::to_string(near.rule);
  append_key("differs", line);
  line += '[';
  for (const auto& [differs, text] : {std::pair{near.peer, "\"peer\""},
                                      {near.protocol, "\"protocol\""},
                                      {near.port, "\"port\""}}) {
    if (!differs) continue;
    if (line.back() != '[') line += ',';
    line += text;
  }
  line += ']';
  append_field("text", near.text, line);
  line += '}';
}

void append_side(std::string_view key, const Side& side, std::string& line) {
  append_key(key, line);
  line += '{';
  append_field("verdict", name(side.verdict), line);
  append_field("by", side.by, line);
  if (side.tier != nullptr) append_field("tier", side.tier, line);
  if (!side.policy.empty()) append_field("policy", side.policy, line);
  if (side.rule) {
    append_key("rule", line);
    line += std::to_string(*side.rule);
  }
  if (!side.isolated_by.empty()) {
    append_key("isolatedBy", line);
    line += '[';
    for (const std::string& policy : side.isolated_by) {
      if (line.back() != '[') line += ',';
      append_text(policy, line);
    }
    line += ']';
  }
  if (!side.reason.empty()) append_field("reason", side.reason, line);
  if (side.nearest) append_near(*side.nearest, line);
  line += '}';
}

void append_path(const Path& path, std::string& line) {
  line += line.back() == '[' ? "{" : ",{";
  append_field("from", path.from, line);
  append_field("to", path.to, line);
  append_field("address", path.address, line);
  append_key("port", line);
  line += std::to_string(path.port);
  append_field("verdict", name(path.verdict()), line);
  append_side("egress", path.egress, line);
  append_side("ingress", path.ingress, line);
  line += '}';
}

bool is_plain(unsigned char c) {
  return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

}  // namespace

const char* name(Verdict verdict) {
  switch (verdict) {
    case Verdict::allow:
      return "allow";
    case Verdict::deny:
      return "deny";
    case Verdict::unknown:
      return "unknown";
  }
  return "";
}

Verdict Path::verdict() const {
  for (const Verdict wanted : {Verdict::deny, Verdict::unknown}) {
    if (egress.verdict == wanted || ingress.verdict == wanted) return wanted;
  }
  return Verdict::allow;
}

void append_text(std::string_view text, std::string& line) {
  if (std::ranges::all_of(text, is_plain)) {
    line += '"';
    line += text;
    line += '"';
    return;
  }
  using nlohmann::json;
  line += json(text).dump(-1, ' ', true, json::error_handler_t::replace);
}

void append_json(const Question& question, const Answer& answer, std::string& line) {
  line += '{';
  append_field("from", question.from, line);
  append_field("to", question.to, line);
  append_field("protocol", protocol_name(question.protocol), line);
  append_key("port", line);
  if (question.port_name.empty()) {
    line += std::to_string(question.port);
  } else {
    append_text(question.port_name, line);
  }
  append_field("verdict", name(answer.verdict), line);
  if (!answer.reason.empty()) append_field("reason", answer.reason, line);
  if (!answer.service.empty()) append_field("service", answer.service, line);
  if (!answer.paths.empty()) {
    append_side("egress", answer.paths.front().egress, line);
    append_side("ingress", answer.paths.front().ingress, line);
  }
  if (!answer.service.empty() || answer.paths_judged > 1) {
    append_key("pathsJudged", line);
    line += std::to_string(answer.paths_judged);
    append_key("paths", line);
    line += '[';
    for (const Path& path : answer.paths) append_path(path, line);
    line += ']';
  }
  line += '}';
}

void append_error(std::string_view sentence, std::string& line) {
  line += '{';
  append_field("error", sentence, line);
  line += '}';
}

}  // namespace podwire::control::explain
