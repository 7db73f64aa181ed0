"""The scene as Kubernetes objects, for podwire."""

import json

import scene as scene_module


def objects(scene):
    for name, address, cidr in (
            (scene_module.NODE, scene_module.NODE_ADDRESS, scene_module.LOCAL_RANGE),
            (scene_module.OTHER_NODE, "172.18.0.12", scene_module.REMOTE_RANGE)):
        yield {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
               "spec": {"podCIDRs": [cidr]},
               "status": {"addresses": [{"type": "InternalIP", "address": address}]}}
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene_module.NAMESPACE}}
    for pod in (*scene.local, *scene.remote):
        yield _pod(pod)
    for policy in scene.policies:
        yield _policy(policy)


def write(scene, folder):
    """A folder of manifests."""
    items = list(objects(scene))
    for first in range(0, len(items), 2000):
        (folder / f"{first:06}.json").write_text(json.dumps(
            {"apiVersion": "v1", "kind": "List", "items": items[first:first + 2000]}))


def _pod(pod):
    made = {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": pod.name, "namespace": scene_module.NAMESPACE,
                         "labels": pod.labels},
            "spec": {"nodeName": pod.node, "containers": [{"name": "main", "image": "none"}]}}
    if pod.node == scene_module.NODE:  # CNI ADD gives it this address
        made["metadata"]["annotations"] = {
            "cni.projectcalico.org/ipAddrs": json.dumps([pod.address])}
    else:
        made["status"] = {"phase": "Running", "podIPs": [{"ip": pod.address}]}
    return made


def _policy(policy):
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": policy.name, "namespace": scene_module.NAMESPACE},
            "spec": {"podSelector": {"matchLabels": {"app": policy.app}},
                     "policyTypes": ["Ingress", "Egress"],
                     "ingress": [_rule(rule, "from") for rule in policy.ingress],
                     "egress": [_rule(rule, "to") for rule in policy.egress]}}


def _rule(rule, peers):
    return {peers: [{"podSelector": rule.peer.selector()}],
            "ports": [_port(rule.protocol, *span) for span in rule.ports]}


def _port(protocol, first, last):
    made = {"protocol": protocol, "port": first}
    return made if first == last else {**made, "endPort": last}
