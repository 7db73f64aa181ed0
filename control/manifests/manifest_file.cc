#include "control/manifests/manifest_file.h"

#include <algorithm>
#include <set>

#include "control/kube/decode.h"
#include "control/manifests/document.h"

namespace podwire::control::manifests {
namespace {

using nlohmann::json;

// A message is one line whatever the file holds.
std::string one_line(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  }
  return text;
}

// RFC 3629. Returns the line of the first byte that is wrong, 0 when none is.
int find_bad_utf8(std::string_view text) {
  int line = 1;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead == '\n') ++line;
    const unsigned more = lead < 0x80                    ? 0
                          : lead >= 0xc2 && lead <= 0xdf ? 1
                          : lead >= 0xe0 && lead <= 0xef ? 2
                          : lead >= 0xf0 && lead <= 0xf4 ? 3
                                                         : 4;
    if (more == 4 || text.size() - i <= more) return line;
    for (unsigned k = 1; k <= more; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return line;
    }
    const auto second = more > 0 ? static_cast<unsigned char>(text[i + 1]) : 0;
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
        (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) {
      return line;
    }
    i += more + 1;
  }
  return 0;
}

// What a cluster's controllers would have filled in and no one does here.
std::optional<kube::FieldProblem> find_unallocated(const kube::Object& object, const json& given) {
  const auto* const service = std::get_if<kube::Service>(&object);
  if (service == nullptr || service->type == kube::Service::Type::external_name) return {};
  const json& spec = given.at("spec");
  const bool headless = spec.value("clusterIP", json()) == "None" ||
                        spec.value("clusterIPs", json()) == json::array({"None"});
  if (service->cluster_ips.empty() && !headless) {
    return kube::FieldProblem{"spec.clusterIP",
                              "is not given; podwire allocates none; give one or None"};
  }
  if (service->type != kube::Service::Type::node_port) return {};
  for (std::size_t i = 0; i < service->ports.size(); ++i) {
    if (service->ports[i].node_port == 0) {
      return kube::FieldProblem{"spec.ports[" + std::to_string(i) + "].nodePort",
                                "is not given; podwire allocates none; give one"};
    }
  }
  return {};
}

class FileReader {
 public:
  FileReader(const std::string& name, FileContent& content) : name_(name), content_(content) {}

  void refuse(int line, const std::string& sentence) {
    content_.problems.push_back(
        {line, name_ + ":" + std::to_string(line) + ": " + one_line(sentence)});
  }

  void read(const Document& document) {
    const json& value = document.value;
    if (value.is_object() && value.value("kind", json()) == "List") return read_list(document);
    read_object(value, document.lines, "");
  }

 private:
  void read_list(const Document& document) {
    const auto items = document.value.find("items");
    if (items == document.value.end() || items->is_null()) return;
    if (!items->is_array()) {
      content_.holds_unknown = true;
      return refuse(document.lines.find("items"), "List: items: is not a list");
    }
    for (std::size_t i = 0; i < items->size(); ++i) {
      read_object((*items)[i], document.lines, "items[" + std::to_string(i) + "]");
    }
  }

  void read_object(const json& value, const Lines& lines, const std::string& path) {
    const auto line_of = [&](const std::string& field) {
      return lines.find(path.empty() || field.empty() ? path + field : path + "." + field);
    };
    auto decoded = kube::decode_object(value);
    if (!decoded) {
      const kube::DecodeError& error = decoded.error();
      if (error.kind) {
        content_.refused.emplace_back(*error.kind, error.full_name);
        if (error.stand_in != nullptr) stand_in(error, line_of(""));
      } else {
        content_.holds_unknown = true;
      }
      return refuse(line_of(error.problem.field), error.to_string());
    }
    kube::Meta& meta = kube::meta(*decoded);
    ObjectKey key{kube::kind(*decoded), meta.full_name()};
    if (const auto problem = find_unallocated(*decoded, value)) {
      refuse(line_of(problem->field),
             kube::kind_and_name(*decoded) + ": " + problem->field + ": " + problem->sentence);
      content_.refused.push_back(std::move(key));
      return;
    }
    const int line = line_of("");
    meta.origin = name_ + ":" + std::to_string(line);
    const auto [first, is_new] = places_.emplace(key, meta.origin);
    if (!is_new) {
      return refuse(line_of("metadata.name"), kube::kind_and_name(*decoded) +
                                                  ": metadata.name: is given already at " +
                                                  first->second + ", which stays in force");
    }
    content_.objects.push_back({std::move(key), line, std::move(*decoded)});
  }

  void stand_in(const kube::DecodeError& error, int line) {
    kube::Object object = *error.stand_in;
    kube::meta(object).origin = name_ + ":" + std::to_string(line);
    content_.stand_ins.push_back({content_.refused.back(), line, std::move(object)});
  }

  const std::string& name_;
  FileContent& content_;
  std::map<ObjectKey, std::string> places_;
};

}  // namespace

bool is_manifest_name(std::string_view name) {
  // A dot in front: vim's and emacs' own files, kubelet's "..data".
  if (name.empty() || name.front() == '.' || name.front() == '#') return false;
  return name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json");
}

FileContent read_manifest(const std::string& name, std::string_view text) {
  FileContent content;
  FileReader reader(name, content);
  if (text.size() > kMaxText) {
    content.holds_unknown = true;
    reader.refuse(1, "is larger than " + std::to_string(kMaxText >> 20) + " MiB; split it");
    return content;
  }
  if (const int line = find_bad_utf8(text); line != 0) {
    content.holds_unknown = true;
    reader.refuse(line, "is not UTF-8 text");
    return content;
  }
  const ParsedText parsed = name.ends_with(".json") ? parse_json(text) : parse_yaml(text);
  for (const SyntaxProblem& problem : parsed.problems) {
    content.holds_unknown = true;
    reader.refuse(problem.line, problem.sentence);
  }
  for (const Document& document : parsed.documents) reader.read(document);
  std::ranges::stable_sort(content.problems, {}, &FileProblem::line);
  return content;
}

}  // namespace podwire::control::manifests
