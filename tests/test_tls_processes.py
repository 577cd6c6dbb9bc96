"""Three processes that speak TLS only, clients with tokens, strangers of every kind; and the trace holds."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from pathlib import Path

import pytest
from certs import certificates, tls
from test_three_processes import CONFIG, HACOORD, NODES, PATIENCE, Cluster

from hacoord.client import Client, Unreachable
from hacoord.net.rights import Right
from hacoord.net.tokens import open_tokens
from hacoord.node import Exit


class Secure(Cluster):
    """Each node with a certificate of its own, and tokens for clients."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.asker.close()
        self.asker = Client(
            list(self.address.values()),
            self.secret,
            certificates=certificates(directory, "client"),
            name="asker",
            timeout=PATIENCE,
        )
        self.tokens = open_tokens(directory / "tokens")
        for name in (*NODES, "client"):
            self.configure(name, name)

    def configure(self, node: str, certificate: str) -> None:
        files = tls(self.directory, certificate)
        (self.directory / f"{node}.toml").write_text(
            f'tokens_file = "tokens"\nsecret_file = "secret"\n{CONFIG}'
            f'[tls]\ncert = "{files.cert}"\nkey = "{files.key}"\nca = "{files.ca}"\n'
        )

    def command(self, node: str, *options: str) -> list[str]:
        return [*HACOORD, "serve", str(self.directory / node), "--config", str(self.directory / f"{node}.toml")]

    def hacoord(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*HACOORD, *words], capture_output=True, text=True, timeout=PATIENCE)


def test_a_cluster_that_speaks_tls_survives_its_leader_and_keeps_strangers_out(tmp_path: Path) -> None:
    cluster = Secure(tmp_path)
    try:
        cluster.start("n1", "n2")
        cluster.leader()
        cluster.configure("n3", "n2")  # the third has another's certificate
        code, said = cluster.refused("n3")
        assert code == Exit.USAGE
        assert "its certificate is for n2, not for node n3" in said
        cluster.configure("n3", "n3")
        cluster.start("n3")
        cluster.follows("n3")
        with Client(
            list(cluster.address.values()),
            cluster.tokens.new("writer", Right.WRITE),
            certificates=certificates(tmp_path, "client"),
            cluster=cluster.name,
            name="writer",
            trace_dir=tmp_path / "trace",
            timeout=PATIENCE,
        ) as writer:
            cluster.write(writer, 20)
            leader = cluster.leader()
            for node in NODES:
                host, _, port = cluster.address[node].partition(":")
                with socket.create_connection((host, int(port)), PATIENCE) as stranger:
                    stranger.sendall(b"\0\0\0\x10" + bytes(1000))
                    with contextlib.suppress(ConnectionResetError):
                        while stranger.recv(1000):  # an alert at most, and then the end
                            pass
            cluster.processes[leader].kill()
            cluster.processes[leader].wait(PATIENCE)
            cluster.write(writer, 20)
            cluster.start(leader)
            cluster.follows(leader)
            cluster.everywhere()
        with Client([cluster.address["n1"]], cluster.secret, timeout=0.3) as plain, pytest.raises(Unreachable):
            plain.status(cluster.address["n1"])
        token = tmp_path / "reader"
        made = cluster.hacoord(
            "token", "new", "reader", "--right", "read", "--tokens-file", str(tmp_path / "tokens"), "--out", str(token)
        )
        assert made.returncode == 0, made.stderr
        options = [cluster.address["n1"], "--config", str(tmp_path / "client.toml"), "--token-file", str(token)]
        status = cluster.hacoord("status", *options)
        assert (status.returncode, status.stdout[:4]) == (0, "node"), status.stderr
        append = cluster.hacoord("append", *options, "--data", "x")
        assert append.returncode == Exit.UNEXPECTED
        assert "token reader has the right read, and 'append' takes write" in append.stderr
        cluster.stop()
        cluster.judge()
    finally:
        cluster.close()
