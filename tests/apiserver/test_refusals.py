"""What an operator reads when the server, its certificate or our credentials are no good."""

import base64
import contextlib
import socket
import struct
import threading

from case import Case, keys, service
from server import answer


class Certificates(Case):
    def check_trust(self, certificate, sentence, **cluster):
        self.server.use_certificate(keys() / certificate)
        follower = self.follow(**cluster)
        said = follower.health(False)
        self.assertEqual(said, f"API server https://127.0.0.1:{self.server.port} (kubeconfig "
                               f"{self.folder}/kubeconfig) is not trusted: {sentence}")
        self.assertEqual(self.server.requests, [])  # nor was the token shown to it

    def test_wrong_authority(self):
        foreign = f"{keys()}/foreign.crt"
        self.check_trust("server", f"its certificate is not signed by the CA {foreign}; give the "
                                   "cluster's CA", **{"certificate-authority": foreign})

    def test_expired(self):
        self.check_trust("expired", "its certificate has expired; renew it, or set this node's "
                                    "clock")

    def test_not_valid_yet(self):
        self.check_trust("early", "its certificate is not valid yet; set this node's clock")

    def test_other_name(self):
        self.check_trust("elsewhere", "its certificate does not name 127.0.0.1; give a server it "
                                      "names, or tls-server-name")

    def test_name_that_the_kubeconfig_gives(self):
        self.following(**{"tls-server-name": "kubernetes"})

    def test_name_that_the_kubeconfig_gives_and_the_server_does_not(self):
        self.check_trust("elsewhere", "its certificate does not name kubernetes; give a server it "
                                      "names, or tls-server-name",
                         **{"tls-server-name": "kubernetes"})

    def test_new_certificate_of_the_server_is_taken(self):
        follower = self.following()
        self.server.use_certificate(keys() / "server")
        self.watch_again(follower)

    def test_client_certificate_as_data_and_as_files(self):
        self.server.context.load_verify_locations(f"{keys()}/ca.crt")
        self.server.context.verify_mode = 2  # required

        def data(ending):
            return base64.b64encode((keys() / f"me.{ending}").read_bytes()).decode()
        for user in ({"client-certificate": f"{keys()}/me.crt", "client-key": f"{keys()}/me.key"},
                     {"client-certificate-data": data("crt"), "client-key-data": data("key")}):
            self.following(user=user)
        self.assertEqual({r.authorization for r in self.server.requests}, {None})
        follower = self.follow(user={"client-certificate": f"{keys()}/me.crt",
                                     "client-key": f"{keys()}/server.key"})
        self.assertIn(f"client certificate {keys()}/me.crt or its key is not good",
                      follower.health(False))


class Permissions(Case):
    def test_forbidden_names_verb_and_resource(self):
        self.server.fault("list", "networkpolicies", answer(
            403, reason="Forbidden", message='networkpolicies.networking.k8s.io is forbidden: '
            'User "system:serviceaccount:kube-system:podwire" cannot list resource '
            '"networkpolicies"'), times=None)
        self.server.fault("watch", "pods", answer(403, reason="Forbidden"), times=None)
        follower = self.follow()
        follower.wait(lambda one: "refuses to watch pods (403): give its user a ClusterRole with "
                      "verb watch on pods; refuses to list networkpolicies of API group "
                      "networking.k8s.io (403): give user system:serviceaccount:kube-system:podwire"
                      " a ClusterRole with verb list on networkpolicies"
                      in one.get("sentence", ""), "both sentences")
        self.assertEqual(follower.since(0, "synced"), [])
        self.server.heal()
        follower.health(True)
        follower.synced()

    def test_token_that_is_not_accepted_and_one_that_replaces_it(self):
        self.server.put("services", service("a"))
        follower = self.following()
        begin = follower.mark()

        def judge(handler):
            if handler.headers["Authorization"] == "Bearer second":
                own = [r for r in self.server.requests if r.path == handler.path][-1]
                return self.server.watch(handler, own)
            return answer(401, reason="Unauthorized", message="Unauthorized")(handler)
        self.server.fault("watch", None, judge, times=None)
        self.server.end_watches()
        self.assertIn(f"does not accept the token {self.folder}/token (401): it has expired or "
                      "was revoked, or is of another cluster", follower.health(False, begin))
        self.assertEqual(follower.in_force("Service"), ["default/a"])
        (self.folder / "token.new").write_text("second\n")
        (self.folder / "token.new").rename(self.folder / "token")
        follower.health(True, begin)
        self.assertEqual(follower.since(begin, "remove"), [])
        self.assertEqual(self.server.requests[-1].authorization, "Bearer second")

    def test_token_that_is_away_for_a_moment(self):
        follower = self.following()
        (self.folder / "token").rename(self.folder / "away")
        self.watch_again(follower)
        self.assertEqual(follower.since(0, "health"), [True])
        self.assertTrue(any("/token cannot be read" in line for line in follower.log), follower.log)


class Reaching(Case):
    def test_nobody_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        self.assertIn(f"cannot be reached: 127.0.0.1 port {port}: Connection refused",
                      self.follow(port=port).health(False))

    def test_connection_that_ends_in_the_handshake(self):
        def reset_all(listener):
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.recv(1)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                          struct.pack("ii", 1, 0))
                    connection.close()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            threading.Thread(target=reset_all, args=(listener,), daemon=True).start()
            self.assertIn(f"cannot be reached: 127.0.0.1 port {port}: the connection ended in the "
                          "TLS handshake", self.follow(port=port).health(False))
            listener.shutdown(socket.SHUT_RDWR)

    def test_no_tls(self):
        def speak_plainly(listener):
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                    connection.close()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=speak_plainly, args=(listener,), daemon=True).start()
            self.assertIn("is not trusted: TLS: ",
                          self.follow(port=listener.getsockname()[1]).health(False))
            listener.shutdown(socket.SHUT_RDWR)

    def test_no_such_name(self):
        self.assertIn("cannot be reached: podwire.invalid port 1: no address for this name",
                      self.follow(host="podwire.invalid", port=1).health(False))

    def test_no_kubernetes(self):
        self.server.fault(None, None, answer(404), times=None)
        self.assertIn("answers 404 to list", self.follow().health(False))
