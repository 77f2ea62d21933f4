"""The programs of a cluster of one node, each with its command line: etcd, the API server, what works beside it,
containerd and the kubelet. All listen on the loopback, on free ports.

Pods with `hostNetwork` share the host's loopback: so they reach servers that tests run there. There is no kube-proxy,
but one service has an address that answers, the API server's own: a forwarder listens there.
"""

import json
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path

import trustme
from tests.cluster.places import binaries
from tests.ports import free_ports

NODE = "127.0.0.1"
"""The node's name, and its address: so `kubectl logs` finds the kubelet."""
PAUSE = "ion.local/pause:1"
_LISTENERS = ("etcd", "peer", "api", "kubelet", "controller", "scheduler")
_ADMIN, _NODE, _CONTROL = "admin", f"system:node:{NODE}", "control"


class Plan:
    """What a new cluster listens on and keeps where; writing it makes its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = dict(zip(_LISTENERS, free_ports(len(_LISTENERS)), strict=True))
        self._range = f"127.{100 + secrets.randbelow(100)}"
        self._tokens = {user: secrets.token_hex(16) for user in (_ADMIN, _NODE, _CONTROL)}

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self._ports['api']}"

    def write(self) -> None:
        self._write_certificates()
        self._write_users()
        self._write_containerd()
        self._write_kubelet()
        for name, user in (("kubeconfig", _ADMIN), ("control.kubeconfig", _CONTROL), ("node.kubeconfig", _NODE)):
            self._write_kubeconfig(name, self._tokens[user])

    def commands(self) -> Sequence[tuple[str, Sequence[str]]]:
        """In the order of their start."""
        return (
            ("etcd", self._etcd()),
            ("kube-apiserver", self._api_server()),
            ("containerd", ["containerd", "--config", str(self.folder / "containerd.toml")]),
            ("kube-controller-manager", self._controllers()),
            ("kube-scheduler", self._scheduler()),
            ("kubelet", self._kubelet()),
            ("service-address", self._forwarder()),
        )

    # ---- command lines ----------------------------------------------------------------------------------------

    def _etcd(self) -> Sequence[str]:
        client, peer = (f"http://127.0.0.1:{self._ports[name]}" for name in ("etcd", "peer"))
        return [
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        ]

    def _api_server(self) -> Sequence[str]:
        place = self.folder
        return [
            str(binaries() / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{self._ports['etcd']}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._ports['api']}",
            f"--tls-cert-file={place / 'server.pem'}",
            f"--tls-private-key-file={place / 'server.key'}",
            f"--token-auth-file={place / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={self._range}.0.0/16",
            f"--service-account-key-file={place / 'accounts.key'}",
            f"--service-account-signing-key-file={place / 'accounts.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--kubelet-preferred-address-types=InternalIP,Hostname",
            "--feature-gates=TTLAfterFinished=true",
            "--allow-privileged=true",
        ]

    def _controllers(self) -> Sequence[str]:
        return [
            str(binaries() / "kube-controller-manager"),
            f"--kubeconfig={self.folder / 'control.kubeconfig'}",
            "--controllers=*,-nodeipam,-cloud-node-lifecycle,-route,-service",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports['controller']}",
            "--port=0",
            f"--service-account-private-key-file={self.folder / 'accounts.key'}",
            f"--root-ca-file={self.folder / 'ca.pem'}",
            "--feature-gates=TTLAfterFinished=true",
        ]

    def _scheduler(self) -> Sequence[str]:
        return [
            str(binaries() / "kube-scheduler"),
            f"--kubeconfig={self.folder / 'control.kubeconfig'}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports['scheduler']}",
            "--port=0",
        ]

    def _kubelet(self) -> Sequence[str]:
        return [
            str(binaries() / "kubelet"),
            f"--kubeconfig={self.folder / 'node.kubeconfig'}",
            f"--config={self.folder / 'kubelet.json'}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'kubelet-pki'}",
            f"--hostname-override={NODE}",
            "--container-runtime=remote",
            f"--container-runtime-endpoint=unix://{self.folder / 'containerd.sock'}",
            f"--pod-infra-container-image={PAUSE}",
        ]

    def _forwarder(self) -> Sequence[str]:
        listens = f"TCP-LISTEN:443,bind={self._range}.0.1,fork,reuseaddr"
        return ["socat", listens, f"TCP:127.0.0.1:{self._ports['api']}"]

    # ---- files ------------------------------------------------------------------------------------------------

    def _write_certificates(self) -> None:
        authority = trustme.CA()
        names = ("127.0.0.1", f"{self._range}.0.1", "localhost", "kubernetes.default.svc")
        issued = authority.issue_cert(*names)
        authority.cert_pem.write_to_path(self.folder / "ca.pem")
        issued.private_key_pem.write_to_path(self.folder / "server.key")
        for number, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(self.folder / "server.pem", append=number > 0)
        subprocess.run(
            ["openssl", "genrsa", "-out", str(self.folder / "accounts.key"), "2048"], check=True, capture_output=True
        )

    def _write_users(self) -> None:
        groups = {_ADMIN: "system:masters", _CONTROL: "system:masters", _NODE: "system:nodes"}
        rows = [f'{self._tokens[user]},{user},{user},"{group}"\n' for user, group in groups.items()]
        file = self.folder / "tokens.csv"
        file.touch(mode=0o600)
        file.write_text("".join(rows))

    def _write_kubeconfig(self, name: str, token: str) -> None:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "ion",
                    "cluster": {"server": self.server, "certificate-authority": str(self.folder / "ca.pem")},
                }
            ],
            "users": [{"name": "ion", "user": {"token": token}}],
            "contexts": [{"name": "ion", "context": {"cluster": "ion", "user": "ion"}}],
            "current-context": "ion",
        }
        file = self.folder / name
        file.touch(mode=0o600)
        file.write_text(json.dumps(document, indent=1))

    def _write_containerd(self) -> None:
        overlay = "overlay\n" in Path("/proc/filesystems").read_text()
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        (self.folder / "containerd.toml").write_text(f"""\
version = 2
root = "{self.folder}/containerd/root"
state = "{self.folder}/containerd/state"
[grpc]
address = "{self.folder}/containerd.sock"
[{cri}]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
[{cri}.containerd]
snapshotter = "{"overlayfs" if overlay else "native"}"
[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{cri}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{self.folder}/cni"
""")
        (self.folder / "cni").mkdir()
        bridge = {
            "cniVersion": "0.4.0",
            "name": "ion",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "ion0",
                    "isGateway": True,
                    "ipMasq": False,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": f"{self.folder}/addresses",
                        "ranges": [[{"subnet": "10.88.64.0/20"}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        }
        (self.folder / "cni" / "10-ion.conflist").write_text(json.dumps(bridge))

    def _write_kubelet(self) -> None:
        settings = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "127.0.0.1",
            "port": self._ports["kubelet"],
            "healthzPort": 0,
            "readOnlyPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "maxPods": 250,
            "serializeImagePulls": False,
            "nodeStatusUpdateFrequency": "4s",
        }
        (self.folder / "kubelet.json").write_text(json.dumps(settings, indent=1))
