#include "control/apiserver/failure.h"

#include <curl/curl.h>
#include <openssl/x509_vfy.h>

#include <algorithm>
#include <cstring>

#include "control/apiserver/json_member.h"

namespace podwire::control::apiserver {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxShown = 300;

// A server's words in a log: one line of a readable length.
std::string shown(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  }
  if (text.size() > kMaxShown) text = text.substr(0, kMaxShown) + "...";
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

// "10.0.0.1 port 6443"
std::string host_and_port(const std::string& server) {
  std::string rest = server.substr(server.find("//") + 2);
  rest = rest.substr(0, rest.find('/'));
  const auto colon = rest.rfind(':');
  const bool has_port = colon != std::string::npos && rest.find(']', colon) == std::string::npos;
  return has_port ? rest.substr(0, colon) + " port " + rest.substr(colon + 1) : rest + " port 443";
}

std::string name_of(const Access& access) {
  if (!access.tls_server_name.empty()) return access.tls_server_name;
  const std::string host = host_and_port(access.server);
  return host.substr(0, host.find(' '));
}

std::string source_of(const Material& material, const std::string& place) {
  return material.file.empty() ? "of " + place : material.file;
}

std::string certificate_sentence(const Outcome& outcome, const Credential& credential) {
  const Access& access = credential.access;
  const std::string ca =
      access.ca.given() ? "the CA " + source_of(access.ca, access.place) : "the system's CAs";
  switch (outcome.verify_result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return "its certificate has expired; renew it, or set this node's clock";
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return "its certificate is not valid yet; set this node's clock";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return "its certificate is not signed by " + ca + "; give the cluster's CA";
    default:
      break;
  }
  const bool name = outcome.trouble.find("subject name") != std::string::npos ||
                    outcome.verify_result == X509_V_ERR_HOSTNAME_MISMATCH ||
                    outcome.verify_result == X509_V_ERR_IP_ADDRESS_MISMATCH;
  if (name) {
    return "its certificate does not name " + name_of(access) +
           "; give a server it names, or tls-server-name";
  }
  return "TLS: " + shown(outcome.trouble);
}

std::string tls_sentence(const Outcome& outcome, const Credential& credential) {
  if (outcome.curl_code != CURLE_SSL_CERTPROBLEM) {
    return "is not trusted: " + certificate_sentence(outcome, credential);
  }
  const Access& access = credential.access;
  return "cannot be asked: client certificate " + source_of(access.certificate, access.place) +
         " or its key is not good: " + shown(outcome.trouble);
}

std::string unreachable_sentence(const Outcome& outcome, const Credential& credential) {
  const std::string to = "cannot be reached: " + host_and_port(credential.access.server) + ": ";
  if (outcome.curl_code == CURLE_COULDNT_RESOLVE_HOST) return to + "no address for this name";
  if (outcome.curl_code == CURLE_OPERATION_TIMEDOUT) return to + "no connection within 10 s";
  if (outcome.os_error != 0) return to + std::strerror(static_cast<int>(outcome.os_error));
  return to + shown(outcome.trouble);
}

// A handshake that TLS itself did not refuse: the connection ended in the midst of it, as under a
// load balancer without a living server. OpenSSL's own errors name its "SSL routines"; libcurl
// leaves "unspecified" where no certificate was seen.
bool cut_in_handshake(const Outcome& outcome) {
  const bool judged =
      outcome.verify_result != X509_V_OK && outcome.verify_result != X509_V_ERR_UNSPECIFIED;
  return outcome.curl_code == CURLE_SSL_CONNECT_ERROR && !judged &&
         outcome.trouble.find("SSL routines") == std::string::npos;
}

Failure explain_transport(const Outcome& outcome, const Credential& credential) {
  if (cut_in_handshake(outcome)) {
    return {Reason::unreachable,
            "cannot be reached: " + host_and_port(credential.access.server) +
                ": the connection ended in the TLS handshake",
            {}};
  }
  switch (outcome.curl_code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_PROXY:
      return {Reason::unreachable, unreachable_sentence(outcome, credential), {}};
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CIPHER:
      return {Reason::tls, tls_sentence(outcome, credential), {}};
    case CURLE_OPERATION_TIMEDOUT:  // libcurl's own limit is that of connecting
      return {Reason::unreachable, unreachable_sentence(outcome, credential), {}};
    default:
      return {Reason::cut, "the connection was lost: " + shown(outcome.trouble), {}};
  }
}

std::string what_of(const Asked& asked) {
  const std::string group = api_group(asked.place.api_version);
  return std::string(asked.verb) + " " + asked.resource.plural +
         (group.empty() ? "" : " of API group " + group);
}

std::string unauthorized_sentence(const Asked& asked) {
  const Access& access = asked.credential.access;
  if (access.token.given()) {
    return "does not accept the token " + source_of(access.token, access.place) +
           " (401): it has expired or was revoked, or is of another cluster";
  }
  return "does not accept the client certificate " + source_of(access.certificate, access.place) +
         " (401): it has expired, or is of another cluster";
}

// "... User \"x\" cannot list resource ..." -> "x"
std::string user_of(const std::string& message) {
  const auto begin = message.find("User \"");
  if (begin == std::string::npos) return "its user";
  const auto end = message.find('"', begin + 6);
  return "user " + message.substr(begin + 6, end - begin - 6);
}

Reason reason_of(long code) {
  switch (code) {
    case 401:
      return Reason::unauthorized;
    case 403:
      return Reason::forbidden;
    case 404:
      return Reason::not_found;
    case 410:
      return Reason::expired;
    case 429:
      return Reason::throttled;
    default:
      return code >= 500 ? Reason::server_error : Reason::refused;
  }
}

}  // namespace

Status read_status(std::string_view text) {
  Status status;
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) {
    status.message = shown(std::string(text));
    return status;
  }
  if (const auto* const code = find_member(object, "code");
      code != nullptr && code->is_number_integer()) {
    status.code = code->get<long>();
  }
  status.reason = text_member(object, "reason");
  status.message = shown(text_member(object, "message"));
  const auto* const details = find_member(object, "details");
  const auto* const causes = details == nullptr ? nullptr : find_member(*details, "causes");
  if (causes == nullptr || !causes->is_array()) return status;
  status.version_too_large = std::ranges::any_of(*causes, [](const json& cause) {
    return text_member(cause, "reason") == "ResourceVersionTooLarge";
  });
  return status;
}

Failure explain_status(const Status& status, const Asked& asked) {
  Failure failure{.reason = reason_of(status.code), .sentence = {}, .retry_after = {}};
  const std::string answer = "answers " + std::to_string(status.code) + " to " + what_of(asked) +
                             (status.message.empty() ? "" : ": " + status.message);
  switch (failure.reason) {
    case Reason::unauthorized:
      failure.sentence = unauthorized_sentence(asked);
      break;
    case Reason::forbidden:
      failure.sentence = "refuses to " + what_of(asked) + " (403): give " +
                         user_of(status.message) + " a ClusterRole with verb " + asked.verb +
                         " on " + asked.resource.plural;
      break;
    case Reason::not_found:
      failure.sentence = answer + "; is it a Kubernetes API server?";
      break;
    default:
      failure.sentence = answer;
  }
  return failure;
}

Failure explain(const Outcome& outcome, const Asked& asked) {
  if (outcome.end == Outcome::End::silent) {
    return {Reason::silent, std::string("has been silent while asked to ") + what_of(asked), {}};
  }
  if (outcome.end == Outcome::End::failed) return explain_transport(outcome, asked.credential);
  Status status = read_status(outcome.body);
  status.code = outcome.status;
  Failure failure = explain_status(status, asked);
  failure.retry_after = outcome.retry_after;
  return failure;
}

}  // namespace podwire::control::apiserver
