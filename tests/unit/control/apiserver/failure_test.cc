#include "control/apiserver/failure.h"

#include <curl/curl.h>
#include <gtest/gtest.h>
#include <openssl/x509_vfy.h>

#include <cerrno>

namespace podwire::control::apiserver {
namespace {

class FailureTest : public testing::Test {
 protected:
  FailureTest() {
    credential.access.server = "https://10.0.0.1:6443";
    credential.access.place = "kubeconfig /k";
    credential.access.ca.file = "/ca.crt";
    credential.access.token.file = "/token";
  }
  [[nodiscard]] Failure of(const Outcome& outcome, const char* verb = "list",
                           kube::Kind kind = kube::Kind::endpoint_slice) const {
    const Resource& resource = resources()[static_cast<std::size_t>(kind)];
    EXPECT_EQ(resource.kind, kind);
    return explain(outcome, {verb, resource, resource.places[0], credential});
  }
  static Outcome failed(int code, long os_error = 0, long verify = 0, std::string text = "x") {
    return {.end = Outcome::End::failed,
            .status = 0,
            .trouble = std::move(text),
            .curl_code = code,
            .os_error = os_error,
            .verify_result = verify,
            .body = {},
            .retry_after = {}};
  }
  static Outcome answer(long status, std::string body = "", int wait = 0) {
    Outcome outcome;
    outcome.status = status;
    outcome.body = std::move(body);
    if (wait > 0) outcome.retry_after = std::chrono::seconds(wait);
    return outcome;
  }
  Credential credential;
};

TEST_F(FailureTest, NamesHostPortAndWhy) {
  const Failure failure = of(failed(CURLE_COULDNT_CONNECT, ECONNREFUSED));
  EXPECT_EQ(failure.reason, Reason::unreachable);
  EXPECT_EQ(failure.sentence, "cannot be reached: 10.0.0.1 port 6443: Connection refused");
  credential.access.server = "https://[fd00::1]/prefix";
  EXPECT_EQ(of(failed(CURLE_OPERATION_TIMEDOUT)).sentence,
            "cannot be reached: [fd00::1] port 443: no connection within 10 s");
  EXPECT_EQ(of(failed(CURLE_RECV_ERROR, 0, 0, "reset")).reason, Reason::cut);
  EXPECT_EQ(of(failed(CURLE_SSL_CONNECT_ERROR, 0, 1, "Recv failure: reset by peer")).sentence,
            "cannot be reached: [fd00::1] port 443: the connection ended in the TLS handshake");
  EXPECT_EQ(of(failed(CURLE_SSL_CONNECT_ERROR, 0, 0, "error:0A00010B:SSL routines::wrong")).reason,
            Reason::tls);
}

TEST_F(FailureTest, SaysWhatIsWrongWithACertificate) {
  const auto sentence = [&](long verify, const char* text = "SSL certificate problem") {
    const Failure failure = of(failed(CURLE_PEER_FAILED_VERIFICATION, 0, verify, text));
    EXPECT_EQ(failure.reason, Reason::tls);
    EXPECT_TRUE(failure.persistent());
    return failure.sentence;
  };
  EXPECT_EQ(sentence(X509_V_ERR_CERT_HAS_EXPIRED),
            "is not trusted: its certificate has expired; renew it, or set this node's clock");
  EXPECT_EQ(sentence(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY),
            "is not trusted: its certificate is not signed by the CA /ca.crt; give the cluster's "
            "CA");
  EXPECT_EQ(sentence(0, "SSL: no alternative certificate subject name matches target host name"),
            "is not trusted: its certificate does not name 10.0.0.1; give a server it names, or "
            "tls-server-name");
}

TEST_F(FailureTest, NamesTheVerbAndResourceThatRbacLacks) {
  const Failure failure =
      of(answer(403, R"({"kind":"Status","code":403,"message":"endpointslices.discovery.k8s.io is )"
                     R"(forbidden: User \"system:node-x\" cannot watch resource"})"),
         "watch");
  EXPECT_EQ(failure.reason, Reason::forbidden);
  EXPECT_EQ(failure.sentence,
            "refuses to watch endpointslices of API group discovery.k8s.io (403): give user "
            "system:node-x a ClusterRole with verb watch on endpointslices");
  EXPECT_EQ(of(answer(403), "list", kube::Kind::pod).sentence,
            "refuses to list pods (403): give its user a ClusterRole with verb list on pods");
}

TEST_F(FailureTest, SaysWhichCredentialIsNotAccepted) {
  EXPECT_EQ(of(answer(401)).sentence,
            "does not accept the token /token (401): it has expired or was revoked, or is of "
            "another cluster");
  credential.access.token = {};
  credential.access.certificate.text = "x";
  EXPECT_EQ(of(answer(401)).sentence,
            "does not accept the client certificate of kubeconfig /k (401): it has expired, or is "
            "of another cluster");
}

TEST_F(FailureTest, KeepsWhatTheServerAsksFor) {
  const Failure failure = of(answer(429, "slow\ndown", 7));
  EXPECT_EQ(failure.reason, Reason::throttled);
  EXPECT_EQ(failure.retry_after, std::chrono::seconds(7));
  EXPECT_EQ(failure.sentence,
            "answers 429 to list endpointslices of API group discovery.k8s.io: slow down");
  EXPECT_EQ(of(answer(503)).reason, Reason::server_error);
  EXPECT_EQ(of(answer(410)).reason, Reason::expired);
}

TEST(Status, FindsTheCauseOfAServerThatIsBehind) {
  EXPECT_TRUE(
      read_status(R"({"code":504,"details":{"causes":[{"reason":"ResourceVersionTooLarge"}]}})")
          .version_too_large);
  for (const char* text : {"", "[]", R"({"details":7})", R"({"details":{"causes":[1,{}]}})"}) {
    EXPECT_FALSE(read_status(text).version_too_large) << text;
  }
}

TEST(Resources, AskAsKubeProxyDoes) {
  const auto path = [](kube::Kind kind, const ListQuery& query) {
    return list_path(resources()[static_cast<std::size_t>(kind)].places[0], query);
  };
  EXPECT_EQ(
      path(kube::Kind::service, {.limit = 500, .resource_version = "0", .continue_token = {}}),
      "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fservice-proxy-name&"
      "fieldSelector=spec.clusterIP%21%3DNone&limit=500&resourceVersion=0&"
      "resourceVersionMatch=NotOlderThan");
  EXPECT_EQ(path(kube::Kind::endpoint_slice, {}),
            "/apis/discovery.k8s.io/v1/endpointslices?labelSelector="
            "%21service.kubernetes.io%2Fheadless");
  EXPECT_EQ(
      path(kube::Kind::node, {.limit = 500, .resource_version = "7", .continue_token = "a=/+"}),
      "/api/v1/nodes?limit=500&continue=a%3D%2F%2B");
  EXPECT_EQ(watch_path(resources()[0].places[0], "12", 300),
            "/api/v1/nodes?watch=1&allowWatchBookmarks=true&resourceVersion=12&timeoutSeconds=300");
}

}  // namespace
}  // namespace podwire::control::apiserver
