#include "control/apiserver/access.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "control/log.h"

namespace podwire::control::apiserver {
namespace {

constexpr std::size_t kMaxFile = std::size_t{4} << 20;

Result<std::string> read_file(const std::string& path, const std::string& what) {
  std::ifstream stream(path, std::ios::binary);
  std::error_code ignored;
  if (!stream || std::filesystem::is_directory(path, ignored)) {
    return fail(what + " " + path +
                " cannot be read: " + (stream ? "it is a folder" : std::strerror(errno)));
  }
  std::string text(std::istreambuf_iterator<char>(stream), {});
  if (stream.bad()) return fail(what + " " + path + " cannot be read");
  if (text.size() > kMaxFile) return fail(what + " " + path + " is larger than 4 MiB");
  return text;
}

Result<std::string> read_material(const Material& material, const std::string& what) {
  if (material.file.empty()) return material.text;
  return read_file(material.file, what);
}

Result<std::string> read_pem(const Material& material, const std::string& what,
                             const std::string& place) {
  if (!material.given()) return std::string();
  auto text = read_material(material, what);
  if (text && text->find("-----BEGIN ") == std::string::npos) {
    return fail((material.file.empty() ? what + " of " + place : what + " " + material.file) +
                " holds no PEM (\"-----BEGIN ...\")");
  }
  return text;
}

Result<std::string> read_token(const Material& material, const std::string& place) {
  if (!material.given()) return std::string();
  auto text = read_material(material, "token");
  if (!text) return text;
  const std::string name =
      material.file.empty() ? "the token of " + place : "token " + material.file;
  const auto is_blank = [](char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; };
  while (!text->empty() && is_blank(text->back())) text->pop_back();
  text->erase(text->begin(), std::find_if_not(text->begin(), text->end(), is_blank));
  if (text->empty()) return fail(name + " is empty");
  // It becomes a header's value.
  if (std::any_of(text->begin(), text->end(), [](char c) { return c <= ' ' || c == 0x7f; })) {
    return fail(name + " holds blanks or control characters");
  }
  return text;
}

}  // namespace

Result<Access> read_service_account(const char* host, const char* port, const std::string& folder) {
  for (const auto& [name, value] :
       {std::pair{"KUBERNETES_SERVICE_HOST", host}, std::pair{"KUBERNETES_SERVICE_PORT", port}}) {
    if (value == nullptr || *value == '\0') {
      return fail(std::string(name) +
                  " is not set in the environment: podwired runs in no pod; use kubeconfig = FILE");
    }
  }
  Access access;
  const std::string address = host;
  const bool bare_v6 = address.find(':') != std::string::npos && address.front() != '[';
  access.server = "https://" + (bare_v6 ? "[" + address + "]" : address) + ":" + port;
  access.ca.file = folder + "/ca.crt";
  access.token.file = folder + "/token";
  access.place = "service account";
  return access;
}

Result<Credential> read_credential(const Access& access) {
  Credential credential{.access = access, .ca = {}, .certificate = {}, .key = {}, .token = {}};
  struct Part {
    const Material& from;
    std::string& to;
    const char* what;
  };
  for (const Part& part : {Part{access.ca, credential.ca, "certificate authority"},
                           Part{access.certificate, credential.certificate, "client certificate"},
                           Part{access.key, credential.key, "client key"}}) {
    auto text = read_pem(part.from, part.what, access.place);
    if (!text) return tl::unexpected(text.error());
    part.to = std::move(*text);
  }
  auto token = read_token(access.token, access.place);
  if (!token) return tl::unexpected(token.error());
  credential.token = std::move(*token);
  return credential;
}

Result<Credential> Credentials::read() const {
  const auto access = load_();
  if (!access) return tl::unexpected(access.error());
  return read_credential(*access);
}

Result<Credential> Credentials::now() {
  auto credential = read();
  if (credential) {
    trouble_.clear();
    last_ = *credential;
    return credential;
  }
  if (!last_) return credential;
  if (trouble_ != credential.error().message) {
    trouble_ = credential.error().message;
    log(LogLevel::warning, trouble_ + "; what was read before stays in use");
  }
  return *last_;
}

}  // namespace podwire::control::apiserver
