// A kubeconfig file -> Access. Fields: k8s.io/client-go/tools/clientcmd/api/v1/types.go. What
// podwired does not do (exec plugins, unverified TLS) is refused rather than passed over: it would
// be reached in another way than the file says.
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "control/apiserver/access.h"
#include "control/kube/base64.h"
#include "control/kube/reader.h"
#include "control/manifests/document.h"

namespace podwire::control::apiserver {
namespace {

using kube::Reader;
using nlohmann::json;

class File {
 public:
  explicit File(const std::string& path)
      : folder_(std::filesystem::absolute(path).parent_path()), place_("kubeconfig " + path) {}

  [[nodiscard]] Access access(const Reader& root);

 private:
  // The element of a list of named things, e.g. clusters[].cluster where name is `wanted`.
  static std::optional<Reader> find(const Reader& root, const char* list, const char* inner,
                                    const Reader& wanted);
  [[nodiscard]] Material material(const Reader& from, const std::string& key) const;
  void read_cluster(const Reader& cluster, Access& access) const;
  void read_user(const Reader& user, Access& access) const;

  std::filesystem::path folder_;
  std::string place_;
};

std::optional<Reader> File::find(const Reader& root, const char* list, const char* inner,
                                 const Reader& wanted) {
  for (const Reader& element : root[list].elements()) {
    if (element["name"].text() == wanted.text()) return element[inner];
  }
  wanted.refuse(wanted.shown() + " is not among " + list);
  return std::nullopt;
}

Material File::material(const Reader& from, const std::string& key) const {
  // client-go: data goes before a file.
  const Reader data = from[key + "-data"];
  if (data.present() && !data.text().empty()) {
    auto text = kube::decode_base64(data.text());
    if (!text) data.refuse("is not base64");
    return {.file = {}, .text = text.value_or("")};
  }
  const std::string file = from[key].text();
  return {.file = file.empty() ? "" : (folder_ / file).string(), .text = {}};
}

void File::read_cluster(const Reader& cluster, Access& access) const {
  const Reader server = cluster["server"];
  access.server = server.text();
  while (access.server.ends_with('/')) access.server.pop_back();
  if (!access.server.starts_with("https://") || access.server.size() == 8) {
    server.refuse(server.shown() + " is not an https:// address; podwired always verifies TLS");
  }
  const Reader insecure = cluster["insecure-skip-tls-verify"];
  if (insecure.boolean(false)) {
    insecure.refuse("is true, but podwired always verifies TLS; give certificate-authority");
  }
  access.tls_server_name = cluster["tls-server-name"].text();
  const Reader proxy = cluster["proxy-url"];
  access.proxy = proxy.text();
  if (!access.proxy.empty() && !access.proxy.starts_with("http://") &&
      !access.proxy.starts_with("socks5://")) {
    proxy.refuse(proxy.shown() + " is not an http:// or socks5:// address");
  }
  access.ca = material(cluster, "certificate-authority");
}

void File::read_user(const Reader& user, Access& access) const {
  for (const char* plugin : {"exec", "auth-provider"}) {
    if (!user[plugin].present()) continue;
    user[plugin].refuse(
        "names a plugin, but podwired runs none; give token, tokenFile or client-certificate");
  }
  for (const char* key : {"username", "password", "as"}) {
    if (!user[key].present()) continue;
    user[key].refuse("is not supported; give token, tokenFile or client-certificate");
  }
  // client-go: tokenFile goes before token.
  const std::string token_file = user["tokenFile"].text();
  if (token_file.empty()) {
    access.token.text = user["token"].text();
  } else {
    access.token.file = (folder_ / token_file).string();
  }
  access.certificate = material(user, "client-certificate");
  access.key = material(user, "client-key");
  if (access.certificate.given() != access.key.given()) {
    user.refuse(access.key.given() ? "gives client-key without client-certificate"
                                   : "gives client-certificate without client-key");
  }
  if (!access.token.given() && !access.certificate.given()) {
    user.refuse("gives no token, tokenFile or client-certificate");
  }
}

Access File::access(const Reader& root) {
  Access access;
  access.place = place_;
  const Reader name = root["current-context"];
  if (!name.present() || name.text().empty()) name.refuse("is not given");
  const auto context = find(root, "contexts", "context", name);
  if (!context) return access;
  if (const auto cluster = find(root, "clusters", "cluster", (*context)["cluster"])) {
    read_cluster(*cluster, access);
  }
  if (const auto user = find(root, "users", "user", (*context)["user"])) read_user(*user, access);
  return access;
}

}  // namespace

Result<Access> read_kubeconfig(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::error_code ignored;
  if (!stream || std::filesystem::is_directory(path, ignored)) {
    return fail("kubeconfig " + path +
                " cannot be read: " + (stream ? "it is a folder" : std::strerror(errno)));
  }
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  if (text.size() > std::size_t{4} << 20) return fail("kubeconfig " + path + " exceeds 4 MiB");
  const auto at = [&](int line) {
    return "kubeconfig " + path + ":" + std::to_string(line) + ": ";
  };
  const manifests::ParsedText parsed = manifests::parse_yaml(text);
  if (!parsed.problems.empty()) {
    return fail(at(parsed.problems[0].line) + parsed.problems[0].sentence);
  }
  if (parsed.documents.size() != 1) {
    return fail(at(1) + (parsed.documents.empty() ? "is empty" : "holds more than one document"));
  }
  std::optional<kube::FieldProblem> problem;
  Access access = File(path).access(Reader(parsed.documents[0].value, problem));
  if (problem) {
    return fail(at(parsed.documents[0].lines.find(problem->field)) + problem->field + ": " +
                problem->sentence);
  }
  return access;
}

}  // namespace podwire::control::apiserver
