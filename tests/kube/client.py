"""A small client of the API server, for tests: it creates and changes objects, and reads them.

    admin.create({"apiVersion": "v1", "kind": "Pod", ...})
    admin.get("Pod", "web", namespace="default")
    for event in admin.watch("Service"): ...
"""

import contextlib
import http.client
import json
import ssl
import urllib.parse

import netns

GROUPS = {  # kind -> where the API server keeps it
    **dict.fromkeys(("Namespace", "Node", "Pod", "Service", "ServiceAccount", "Secret",
                     "ConfigMap", "Endpoints"), "/api/v1"),
    "EndpointSlice": "/apis/discovery.k8s.io/v1",
    **dict.fromkeys(("NetworkPolicy", "ServiceCIDR"), "/apis/networking.k8s.io/v1"),
    **dict.fromkeys(("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
                    "/apis/rbac.authorization.k8s.io/v1"),
    "DaemonSet": "/apis/apps/v1",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1",
    **dict.fromkeys(("IPPool", "BGPConfiguration", "BGPPeer", "BGPFilter", "BlockAffinity",
                     "IPAMBlock", "IPAMHandle", "IPAMConfig", "IPReservation"),
                    "/apis/crd.projectcalico.org/v1"),
    "ClusterNetworkPolicy": "/apis/policy.networking.k8s.io/v1alpha2",
    "NetworkAttachmentDefinition": "/apis/k8s.cni.cncf.io/v1",
}
CLUSTER_SCOPED = {"Namespace", "Node", "ServiceCIDR", "ClusterRole", "ClusterRoleBinding",
                  "CustomResourceDefinition", "IPPool", "BGPConfiguration", "BGPPeer", "BGPFilter",
                  "BlockAffinity", "IPAMBlock", "IPAMHandle", "IPAMConfig", "IPReservation",
                  "ClusterNetworkPolicy"}
MERGE_PATCH = "application/merge-patch+json"


def plural(kind):
    if kind == "NetworkAttachmentDefinition":
        return "network-attachment-definitions"
    name = kind.lower()
    if name.endswith("y"):
        return name[:-1] + "ies"
    return name if name == "endpoints" else name + "s"


def path_of(kind, name=None, namespace=None, subresource=None):
    parts = [GROUPS[kind]]
    if namespace is not None and kind not in CLUSTER_SCOPED:
        parts.append(f"namespaces/{namespace}")
    parts.append(plural(kind))
    return "/".join(parts + [part for part in (name, subresource) if part])


class ApiError(Exception):
    """The API server's answer when it is not a success."""

    def __init__(self, code, text):
        self.code = code
        try:
            self.status = json.loads(text)
        except ValueError:
            self.status = {}
        self.reason = self.status.get("reason", "")
        super().__init__(f"{code} {self.reason}: {self.status.get('message', text[:300])}")


class Connection(http.client.HTTPSConnection):
    """HTTPS to a server in another network namespace, verified."""

    def __init__(self, namespace, address, port, context, timeout_s):
        super().__init__(address, port, timeout=timeout_s, context=context)
        self.namespace = namespace

    def connect(self):
        with netns.inside(self.namespace):
            super().connect()


class Client:
    """Speaks to one server as one user: by client certificate (path without ending) or token."""

    def __init__(self, namespace, address, port, authority, certificate=None, token=None,
                 timeout_s=20):
        self.where, self.timeout_s, self.token = (namespace, address, port), timeout_s, token
        self.context = ssl.create_default_context(cafile=str(authority))
        if certificate is not None:
            self.context.load_cert_chain(f"{certificate}.crt", f"{certificate}.key")

    def send(self, method, path, body=None, content_type="application/json", query=None):
        """The open connection and its response, whatever the code."""
        connection = Connection(*self.where, self.context, self.timeout_s)
        headers = {"Accept": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            headers["Content-Type"] = content_type
            body = json.dumps(body)
        if query:
            path += "?" + urllib.parse.urlencode(query)
        connection.request(method, path, body, headers)
        return connection, connection.getresponse()

    def request(self, method, path, body=None, content_type="application/json", query=None):
        connection, response = self.send(method, path, body, content_type, query)
        with contextlib.closing(connection):
            text = response.read()
        if response.status >= 300:
            raise ApiError(response.status, text.decode(errors="replace"))
        return json.loads(text) if text[:1] in (b"{", b"[") else text.decode()

    # ---- objects ----

    def create(self, thing, **query):
        namespace = thing["metadata"].get("namespace", "default")
        return self.request("POST", path_of(thing["kind"], namespace=namespace), thing,
                            query=query)

    def get(self, kind, name, namespace="default"):
        return self.request("GET", path_of(kind, name, namespace))

    def list(self, kind, namespace=None, **query):
        return self.request("GET", path_of(kind, namespace=namespace), query=query)

    def patch(self, kind, name, change, namespace="default", subresource=None,
              content_type=MERGE_PATCH):
        """A merge patch: null removes, a list replaces."""
        return self.request("PATCH", path_of(kind, name, namespace, subresource), change,
                            content_type)

    def set_status(self, kind, name, status, namespace="default"):
        return self.patch(kind, name, {"status": status}, namespace, "status")

    def replace(self, thing):
        meta = thing["metadata"]
        return self.request("PUT", path_of(thing["kind"], meta["name"], meta.get("namespace")),
                            thing)

    def delete(self, kind, name, namespace="default", grace_s=0):
        return self.request("DELETE", path_of(kind, name, namespace),
                            query={"gracePeriodSeconds": grace_s})

    def exists(self, kind, name, namespace="default"):
        try:
            self.get(kind, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return False
        return True

    def watch(self, kind, namespace=None, **query):
        """Yields events, each a JSON object, until the server ends the watch."""
        query = {"watch": "true", "allowWatchBookmarks": "true", **query}
        connection, response = self.send("GET", path_of(kind, namespace=namespace), query=query)
        with contextlib.closing(connection):
            if response.status >= 300:
                raise ApiError(response.status, response.read().decode(errors="replace"))
            while line := response.readline():
                yield json.loads(line)

    # ---- accounts ----

    def token_of(self, account, namespace="default", secret=None):
        """A token of a ServiceAccount, as kubelet asks for it; it is bound to a Secret's life."""
        path = path_of("ServiceAccount", account, namespace, "token")
        bound = {"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": secret}}
        answer = self.request("POST", path, {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600, **(bound if secret else {})}})
        return answer["status"]["token"]
