#include "cni-shim/invocation.h"

#include <algorithm>

#include "cni-shim/daemon.h"
#include "cni-shim/device_info.h"
#include "cni-shim/notes.h"
#include "cni-shim/results.h"

namespace podwire::cni {
namespace {

using nlohmann::json;

std::string text_of(const json& note, const char* key) {
  const auto found = note.find(key);
  return found != note.end() && found->is_string() ? found->get<std::string>() : "";
}

// The network's own words on DNS go before the IPAM plugin's (plugins/main/ptp).
json dns_of(const json& configuration, const json& given) {
  const auto own = configuration.find("dns");
  if (own != configuration.end() && own->is_object() && !own->empty()) return *own;
  return given.is_object() ? given.value("dns", json::object()) : json::object();
}

}  // namespace

Invocation::Invocation(const Environment& environment, const Configuration& configuration,
                       Request request)
    : environment_(environment), config_(configuration), request_(std::move(request)) {
  request_.wishes.delegated = !config_.ipam.empty();
}

std::string Invocation::socket() const {
  return config_.run_dir + "/" + kSocketName;
}

Refused Invocation::absent(Code code) const {
  return {code, "podwired does not answer at " + socket() + "; is it running?"};
}

std::optional<Refused> Invocation::ask_podwired(Code without_one, Reply* reply) {
  auto answer = ask(socket(), request_);
  if (!answer) return absent(without_one);
  if (answer->code != Code::ok) return Refused{answer->code, answer->message};
  if (reply != nullptr) *reply = std::move(*answer);
  return std::nullopt;
}

Delegation Invocation::delegation() const {
  return {environment_, config_.all, name(), request_.netns};
}

std::optional<Refused> Invocation::add(json& result) {
  json previous;
  if (const auto found = config_.all.find("prevResult"); found != config_.all.end()) {
    std::string error;
    const auto read = read_result(*found, "prevResult", error);
    if (!read) return Refused{Code::config, error};
    previous = *read;
    if (has_interface(previous, request_.interface, request_.netns)) {
      return Refused{Code::config, "prevResult: an earlier plugin has made the interface " +
                                       request_.interface + " already"};
    }
  }
  json note;
  const std::string device_file = device_info_path(config_.all);
  if (!config_.ipam.empty() || !device_file.empty()) {
    note = {{"containerID", request_.container_id},
            {"ifname", request_.interface},
            {"netns", request_.netns},
            {"network", config_.name},
            {"deviceInfo", device_file},
            {"config", config_.all}};
    note["config"].erase("prevResult");
    const std::string error = write_note(config_.state_dir, kMadeFolder, name(), note);
    if (!error.empty()) return Refused{Code::io, error};
  }
  json own;
  bool ipam_undone = false;
  if (auto refused = add_noted(own, ipam_undone)) {
    // What fails here is left to DEL and GC.
    if (!note.is_null() && remove_made(note) && ipam_undone) {
      drop_note(config_.state_dir, kMadeFolder, name());
    }
    return refused;
  }
  result = convert_result(previous.is_null() ? own : chain(previous, own), config_.version);
  return std::nullopt;
}

std::optional<Refused> Invocation::add_noted(json& own, bool& ipam_undone) {
  json given;
  if (!config_.ipam.empty()) {
    if (auto refused = delegation().add(given)) {
      ipam_undone = refused->code != Code::internal && refused->code != Code::decode;
      return refused;
    }
    if (auto refused = read_given(given, config_.ipam, request_.wishes)) return refused;
  }
  Reply reply;
  if (auto refused = ask_podwired(Code::try_later, &reply)) return refused;
  if (auto refused = write_device_file(reply.device_info)) return refused;
  std::string error;
  const auto read = read_result(reply.result, "podwired's result", error);
  if (!read) return Refused{Code::internal, error};
  own = *read;
  own["dns"] = dns_of(config_.all, given);
  return std::nullopt;
}

// A kernel interface has none.
std::optional<Refused> Invocation::write_device_file(const json& info) {
  const std::string path = device_info_path(config_.all);
  if (path.empty()) return std::nullopt;
  if (info.is_null()) {
    if (config_.ipam.empty()) drop_note(config_.state_dir, kMadeFolder, name());
    return std::nullopt;
  }
  const std::string error = write_device_info(path, info);
  if (error.empty()) return std::nullopt;
  Request undo = request_;
  undo.command = "DEL";
  static_cast<void>(ask(socket(), undo));
  return Refused{Code::io, std::string(kDeviceInfoCapability) + ": " + error};
}

std::optional<Refused> Invocation::remove_made(const json& note) {
  const json config = note.value("config", json::object());
  const AttachmentName name{text_of(note, "containerID"), text_of(note, "ifname")};
  remove_device_info(text_of(note, "deviceInfo"));
  if (const auto ipam = config.find("ipam"); ipam != config.end() && ipam->is_object() &&
                                             !text_of(*ipam, "type").empty() &&
                                             text_of(*ipam, "type") != "podwire") {
    const Delegation delegation{environment_, config, name, text_of(note, "netns")};
    if (auto refused = delegation.remove()) return refused;
  }
  drop_note(config_.state_dir, kMadeFolder, name);
  return std::nullopt;
}

std::optional<Refused> Invocation::remove_at_podwired() {
  auto reply = ask(socket(), request_);
  if (!reply) {
    const json note = to_json(request_);
    const std::string error = write_note(config_.state_dir, kPendingFolder, name(), note);
    if (!error.empty()) {
      return Refused{Code::try_later,
                     "podwired does not answer and the delete cannot be noted: " + error};
    }
    // A podwired that has come up meanwhile may have looked for notes before ours was there.
    reply = ask(socket(), request_);
    if (!reply) return std::nullopt;
    if (reply->code == Code::ok) drop_note(config_.state_dir, kPendingFolder, name());
  }
  if (reply->code == Code::ok) return std::nullopt;
  return Refused{reply->code, reply->message};
}

// podwired first: only then does no worker see the address any more.
std::optional<Refused> Invocation::remove() {
  if (auto refused = remove_at_podwired()) return refused;
  if (const auto note = read_note(config_.state_dir, kMadeFolder, name())) {
    return remove_made(*note);
  }
  drop_note(config_.state_dir, kMadeFolder, name());
  remove_device_info(device_info_path(config_.all));
  if (config_.ipam.empty()) return std::nullopt;
  return delegation().remove();  // of an ADD whose note is lost
}

std::optional<Refused> Invocation::check() {
  if (auto refused = ask_podwired(Code::try_later)) return refused;
  return config_.ipam.empty() ? std::nullopt : delegation().check();
}

// Goes on after an error, and says the first.
std::optional<Refused> Invocation::collect_garbage() {
  if (auto refused = ask_podwired(Code::try_later)) return refused;
  std::optional<Refused> first;
  const auto& valid = request_.valid;
  for (const json& note : read_notes(config_.state_dir, kMadeFolder)) {
    const AttachmentName name{text_of(note, "containerID"), text_of(note, "ifname")};
    if (text_of(note, "network") != config_.name || !is_container_id(name.container_id) ||
        std::find(valid.begin(), valid.end(), name) != valid.end()) {
      continue;
    }
    auto refused = remove_made(note);
    if (!first) first = std::move(refused);
  }
  if (!config_.ipam.empty()) {
    auto refused = delegation().forward("GC");
    if (!first) first = std::move(refused);
  }
  return first;
}

std::optional<Refused> Invocation::status() {
  if (auto refused = ask_podwired(Code::not_available)) return refused;
  return config_.ipam.empty() ? std::nullopt : delegation().forward("STATUS");
}

}  // namespace podwire::cni
