#include "control/apiserver/access.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace podwire::control::apiserver {
namespace {

namespace fs = std::filesystem;

const std::string kPem = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
// base64 of kPem
const std::string kPemData =
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BPT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=";

class AccessTest : public testing::Test {
 protected:
  AccessTest() {
    char name[] = "/tmp/podwire-access-XXXXXX";
    folder = mkdtemp(name);
  }
  ~AccessTest() override { fs::remove_all(folder); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder / name) << text;
    return folder / name;
  }
  // A kubeconfig with these fields of its cluster and its user.
  std::string config(const std::string& cluster, const std::string& user) const {
    return write("config",
                 "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
                 "contexts:\n- name: other\n  context: {cluster: x, user: y}\n"
                 "- name: here\n  context: {cluster: c, user: u, namespace: n}\n"
                 "clusters:\n- name: c\n  cluster: {" +
                     cluster +
                     "}\n"
                     "users:\n- name: u\n  user: {" +
                     user + "}\n");
  }
  std::string error_of(const std::string& cluster, const std::string& user) const {
    const auto access = read_kubeconfig(config(cluster, user));
    if (access) return "accepted";
    const std::string prefix = "kubeconfig " + (folder / "config").string();
    EXPECT_TRUE(access.error().message.starts_with(prefix)) << access.error().message;
    return access.error().message.substr(prefix.size());
  }
  fs::path folder;
};

const std::string kServer = "server: 'https://10.0.0.1:6443'";

TEST_F(AccessTest, TakesDataBeforeFilesAndFilesFromTheFoldersOfTheConfig) {
  const auto access = read_kubeconfig(
      config(kServer +
                 "/, tls-server-name: kubernetes, certificate-authority: nowhere, "
                 "proxy-url: 'socks5://p:1', certificate-authority-data: " +
                 kPemData,
             "client-certificate: me.crt, client-key: /abs/me.key, token: t, tokenFile: tok"));
  ASSERT_FALSE(access);  // a flow map cannot hold "'...'/": the YAML is broken, and says so
  const auto good = read_kubeconfig(
      config("server: 'https://10.0.0.1:6443/', tls-server-name: kubernetes, "
             "certificate-authority: nowhere, proxy-url: 'socks5://p:1', "
             "certificate-authority-data: " +
                 kPemData,
             "client-certificate: me.crt, client-key: /abs/me.key, token: t, tokenFile: tok"));
  ASSERT_TRUE(good) << good.error().message;
  EXPECT_EQ(good->server, "https://10.0.0.1:6443");
  EXPECT_EQ(good->tls_server_name, "kubernetes");
  EXPECT_EQ(good->proxy, "socks5://p:1");
  EXPECT_EQ(good->ca.text, kPem);
  EXPECT_EQ(good->ca.file, "");
  EXPECT_EQ(good->certificate.file, folder / "me.crt");
  EXPECT_EQ(good->key.file, "/abs/me.key");
  EXPECT_EQ(good->token.file, folder / "tok");
  EXPECT_EQ(good->token.text, "");
}

TEST_F(AccessTest, SaysWhatItDoesNotTake) {
  EXPECT_EQ(error_of("server: 'http://10.0.0.1'", "token: t"),
            ":11: clusters[0].cluster.server: \"http://10.0.0.1\" is not an https:// address; "
            "podwired always verifies TLS");
  EXPECT_EQ(error_of(kServer + ", insecure-skip-tls-verify: true", "token: t"),
            ":11: clusters[0].cluster.insecure-skip-tls-verify: is true, but podwired always "
            "verifies TLS; give certificate-authority");
  EXPECT_EQ(error_of(kServer, "exec: {command: aws}"),
            ":14: users[0].user.exec: names a plugin, but podwired runs none; give token, "
            "tokenFile or client-certificate");
  EXPECT_EQ(error_of(kServer, "auth-provider: {name: gcp}"),
            ":14: users[0].user.auth-provider: names a plugin, but podwired runs none; give token, "
            "tokenFile or client-certificate");
  EXPECT_EQ(error_of(kServer, "username: a, password: b"),
            ":14: users[0].user.username: is not supported; give token, tokenFile or "
            "client-certificate");
  EXPECT_EQ(error_of(kServer, "client-key: k"),
            ":14: users[0].user: gives client-key without client-certificate");
  EXPECT_EQ(error_of(kServer, "name: x"),
            ":14: users[0].user: gives no token, tokenFile or client-certificate");
  EXPECT_EQ(error_of(kServer + ", certificate-authority-data: '%%'", "token: t"),
            ":11: clusters[0].cluster.certificate-authority-data: is not base64");
  EXPECT_EQ(error_of(kServer + ", proxy-url: 'ftp://x'", "token: t"),
            ":11: clusters[0].cluster.proxy-url: \"ftp://x\" is not an http:// or socks5:// "
            "address");
}

TEST_F(AccessTest, SaysWhatIsMissing) {
  const auto error = [&](const std::string& text) {
    const auto access = read_kubeconfig(write("k", text));
    return access ? "accepted"
                  : access.error().message.substr(("kubeconfig " + (folder / "k").string()).size());
  };
  EXPECT_EQ(error(""), ":1: is empty");
  EXPECT_EQ(error("a: [\n"), ":2: is not YAML: end of sequence flow not found");
  EXPECT_EQ(error("clusters: []"), ":1: current-context: is not given");
  EXPECT_EQ(error("current-context: x\ncontexts: []"),
            ":1: current-context: \"x\" is not among contexts");
  EXPECT_EQ(error("current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"),
            ":2: contexts[0].context.cluster: \"c\" is not among clusters");
  EXPECT_EQ(read_kubeconfig("/nonexistent").error().message,
            "kubeconfig /nonexistent cannot be read: No such file or directory");
}

TEST_F(AccessTest, ReadsTheServiceAccountOfAPod) {
  write("token", " secret \n");
  write("ca.crt", kPem);
  const auto access = read_service_account("fd00::1", "443", folder);
  ASSERT_TRUE(access);
  EXPECT_EQ(access->server, "https://[fd00::1]:443");
  const auto credential = read_credential(*access);
  ASSERT_TRUE(credential) << credential.error().message;
  EXPECT_EQ(credential->token, "secret");
  EXPECT_EQ(credential->ca, kPem);
  EXPECT_EQ(read_service_account("10.0.0.1", nullptr, folder).error().message,
            "KUBERNETES_SERVICE_PORT is not set in the environment: podwired runs in no pod; use "
            "kubeconfig = FILE");
}

TEST_F(AccessTest, SaysWhichFileIsNoGood) {
  Access access{.server = "https://h",
                .tls_server_name = {},
                .proxy = {},
                .ca = {},
                .certificate = {},
                .key = {},
                .token = {},
                .place = "kubeconfig k"};
  const auto error = [&] { return read_credential(access).error().message; };
  access.token.file = folder / "token";
  EXPECT_EQ(error(),
            "token " + (folder / "token").string() + " cannot be read: No such file or directory");
  write("token", "\n");
  EXPECT_EQ(error(), "token " + (folder / "token").string() + " is empty");
  write("token", "a\r\nX-Evil: 1");
  EXPECT_EQ(error(),
            "token " + (folder / "token").string() + " holds blanks or control characters");
  access.token = {.file = {}, .text = "t"};
  access.ca.text = "zzz";
  EXPECT_EQ(error(), "certificate authority of kubeconfig k holds no PEM (\"-----BEGIN ...\")");
}

TEST_F(AccessTest, FollowsARotatedTokenAndKeepsTheLastGoodOne) {
  Credentials credentials([&] { return read_service_account("10.0.0.1", "443", folder); });
  EXPECT_FALSE(credentials.now());  // never a good one: it says so
  write("ca.crt", kPem);
  write("token", "one");
  ASSERT_TRUE(credentials.now());
  EXPECT_EQ(credentials.now()->token, "one");
  write("token.new", "two");
  fs::rename(folder / "token.new", folder / "token");
  EXPECT_EQ(credentials.now()->token, "two");
  fs::remove(folder / "token");
  ASSERT_TRUE(credentials.now());
  EXPECT_EQ(credentials.now()->token, "two");
}

}  // namespace
}  // namespace podwire::control::apiserver
