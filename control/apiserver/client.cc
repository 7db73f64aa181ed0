#include "control/apiserver/client.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "control/apiserver/failure.h"
#include "control/apiserver/json_member.h"

namespace podwire::control::apiserver {
namespace {

using nlohmann::json;
using Why = ObjectFailure::Why;

constexpr std::chrono::seconds kSilence{10};
constexpr std::size_t kMaxObject = std::size_t{4} << 20;  // etcd takes no more than 1.5 MiB

std::string path_of(const ObjectType& type, const std::string& name) {
  // Kubernetes' first kinds have no group and a root of their own.
  const bool core = std::string_view(type.api_version).find('/') == std::string_view::npos;
  std::string path =
      (core ? "/api/" : "/apis/") + std::string(type.api_version) + "/" + type.plural;
  return name.empty() ? path : path + "/" + percent_encoded(name);
}

std::string metadata_of(const json& object, const char* key) {
  const json* const metadata = find_member(object, "metadata");
  return metadata == nullptr ? "" : text_member(*metadata, key);
}

ObjectFailure failure_of(const Outcome& outcome, const ObjectType& type, const char* verb,
                         const Credential& credential) {
  const Resource resource{kube::Kind::node, type.plural, {{"", type.api_version, "", ""}}, true};
  const Failure failure = explain(outcome, {verb, resource, resource.places[0], credential});
  Why why = Why::unknown;
  if (outcome.end == Outcome::End::complete && outcome.status >= 400 && outcome.status < 500) {
    why = outcome.status == 409   ? Why::conflict
          : outcome.status == 404 ? Why::absent
                                  : Why::refused;
  }
  return {why, "API server " + credential.access.server + " " + failure.sentence};
}

}  // namespace

void Client::ask(const ObjectType& type, Verb verb, const std::string& name, std::string body,
                 Done done) {
  auto credential = credentials_.now();
  if (!credential) {
    return boost::asio::post(io_, [done = std::move(done), error = credential.error().message] {
      done(tl::unexpected(ObjectFailure{Why::refused, error}));
    });
  }
  const auto text = std::make_shared<std::string>();
  Request request;
  request.credential = *credential;
  request.method = verb.http;
  request.path = path_of(type, name);
  request.body = std::move(body);
  request.silence = kSilence;
  request.begun = [] {};
  request.data = [text](std::string_view bytes) {
    text->append(bytes);
    return text->size() <= kMaxObject;
  };
  request.done = [text, type, verb, credential = std::move(*credential),
                  done = std::move(done)](const Outcome& outcome) {
    const bool success = outcome.status == 200 || outcome.status == 201;
    if (outcome.end != Outcome::End::complete || !success) {
      return done(tl::unexpected(failure_of(outcome, type, verb.rbac, credential)));
    }
    auto object = json::parse(*text, nullptr, false);
    if (object.is_object()) return done(std::move(object));
    done(tl::unexpected(ObjectFailure{Why::unknown, "API server " + credential.access.server +
                                                        " answers with what is no object to " +
                                                        verb.rbac + " " + type.plural}));
  };
  transfers_.start(std::move(request));
}

void Client::get(const ObjectType& type, const std::string& name, Done done) {
  ask(type, {"GET", "get"}, name, "", std::move(done));
}

void Client::create(const ObjectType& type, const json& object, Done done) {
  ask(type, {"POST", "create"}, "", object.dump(), std::move(done));
}

void Client::replace(const ObjectType& type, const json& object, Done done) {
  ask(type, {"PUT", "update"}, metadata_of(object, "name"), object.dump(), std::move(done));
}

void Client::remove(const ObjectType& type, const json& object, Done done) {
  const json options{{"kind", "DeleteOptions"},
                     {"apiVersion", "v1"},
                     {"preconditions",
                      {{"uid", metadata_of(object, "uid")},
                       {"resourceVersion", metadata_of(object, "resourceVersion")}}}};
  ask(type, {"DELETE", "delete"}, metadata_of(object, "name"), options.dump(), std::move(done));
}

}  // namespace podwire::control::apiserver
