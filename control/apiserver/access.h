// Where the API server is and who we are to it: as a kubeconfig or a pod's service account says.
// Files that these name are read anew for every request, so that a rotated token, certificate or CA
// is in use at once. Control thread only.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "dataplane/result.h"

namespace podwire::control::apiserver {

// PEM or a token: a file's content, or text that stands in the kubeconfig itself.
struct Material {
  std::string file;
  std::string text;
  [[nodiscard]] bool given() const { return !file.empty() || !text.empty(); }
};

struct Access {
  std::string server;           // "https://10.0.0.1:6443", perhaps with a path; no slash at its end
  std::string tls_server_name;  // the name in the server's certificate when it is not the host
  std::string proxy;
  Material ca;  // absent: the system's CAs
  Material certificate, key, token;
  std::string place;  // "kubeconfig /etc/podwire/kubeconfig", "service account": for messages
};

// Errors are one sentence that begins with the file and, where it has one, the line.
Result<Access> read_kubeconfig(const std::string& path);

inline constexpr const char* kServiceAccountFolder =
    "/var/run/secrets/kubernetes.io/serviceaccount";
// `host` and `port` are those of KUBERNETES_SERVICE_HOST and _PORT; null: not set.
Result<Access> read_service_account(const char* host, const char* port, const std::string& folder);

// What is presented to the server and what its certificate is judged by.
struct Credential {
  Access access;
  std::string ca, certificate, key, token;  // contents; empty: none
};
Result<Credential> read_credential(const Access& access);

// The credential as the files say now. While they cannot be read the last good one stays in use: a
// rotation may be under way.
class Credentials {
 public:
  using Load = std::function<Result<Access>()>;
  explicit Credentials(Load load) : load_(std::move(load)) {}

  // The error only when there has never been a good one.
  Result<Credential> now();

 private:
  Result<Credential> read() const;

  Load load_;
  std::optional<Credential> last_;
  std::string trouble_;  // as it was logged
};

}  // namespace podwire::control::apiserver
