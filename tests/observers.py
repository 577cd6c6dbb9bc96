"""A cluster of 5 voters and 20 observers, as processes of this machine, that loses two voters: `make observers`.

A client writes all the while. The LEADER and one more voter are killed and stay dead; every write that was acknowledged
must be at every node that is left, and the checker must accept what all of them traced. Takes about a minute on two
processors.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

from test_three_processes import Cluster, free_ports

from hacoord.client import Client
from hacoord.disk.storage import create
from hacoord.journal import OutcomeUnknown

CONFIG = '[trace]\ndir = "trace"\n[election]\ntimeout = 2.0\nheartbeat = 0.4\n'
PATIENCE = 120.0


def main() -> int:
    """Run it once; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voters", type=int, default=5)
    parser.add_argument("--observers", type=int, default=20)
    args = parser.parse_args()
    began = time.monotonic()
    voters = [f"n{number}" for number in range(1, args.voters + 1)]
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(Path(directory), voters, CONFIG)
        try:
            play(cluster, voters, args.observers, began)
        finally:
            cluster.close()
    return 0


def play(cluster: Cluster, voters: list[str], count: int, began: float) -> None:
    """The whole story."""

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {what}", flush=True)

    cluster.start(*voters)
    first = cluster.leader()
    tell(f"{len(voters)} voters run, {first} leads")
    observers = [join(cluster, f"o{number}", port) for number, port in enumerate(free_ports(count), start=1)]
    for name in observers:
        cluster.until(f"{name} observes", lambda n=name: cluster.status(n).get("type") == "OBSERVER")  # type: ignore[misc]
    tell(f"{count} observers have joined")

    writer = Writer(cluster)
    writer.start()
    writer.wait_for(100)
    killed = [first, next(voter for voter in voters if voter != first)]
    for name in killed:
        cluster.processes[name].kill()
        cluster.processes[name].wait(PATIENCE)
    gone = time.monotonic()
    writer.wait_for(len(cluster.promised) + 1)
    took = time.monotonic() - gone
    tell(f"{' and '.join(killed)} are killed; after {took:.1f} s writes go on, at {cluster.leader()}")
    writer.wait_for(len(cluster.promised) + 200)
    writer.stop()
    cluster.everywhere()
    tell(f"all {len(cluster.promised)} acknowledged writes are at all {len(cluster.running())} nodes that are left")
    cluster.stop()
    cluster.judge()
    tell("trace-check accepts the trace")


def join(cluster: Cluster, name: str, port: int) -> str:
    """An observer joins and is started."""
    founders = dict(cluster.address)
    address = f"127.0.0.1:{port}"
    reply = cluster.asker.change("add_observer", name, address=address, timeout=PATIENCE)
    assert isinstance(reply["founding"], dict)
    assert reply["founding"].items() <= founders.items()
    create(cluster.directory / name, cluster=cluster.name, node=name, members=reply["founding"], address=address)
    cluster.address[name] = address
    cluster.start(name)
    return name


class Writer(threading.Thread):
    """A client that writes until it is stopped, and remembers what it was promised."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._over = threading.Event()

    def run(self) -> None:
        cluster = self._cluster
        voters = [address for name, address in cluster.address.items() if name.startswith("n")]
        trace = cluster.directory / "trace"
        with Client(voters, cluster.secret, cluster=cluster.name, trace_dir=trace, timeout=PATIENCE) as client:
            while not self._over.is_set():
                data = b"write %d" % len(cluster.promised)
                try:
                    cluster.promised[client.append(data).index] = data
                except OutcomeUnknown:
                    continue

    def wait_for(self, writes: int) -> None:
        """Until so many writes have been acknowledged."""
        deadline = time.monotonic() + PATIENCE
        while len(self._cluster.promised) < writes:
            if not self.is_alive() or time.monotonic() > deadline:
                raise AssertionError(f"{len(self._cluster.promised)} of {writes} writes")
            time.sleep(0.02)

    def stop(self) -> None:
        """The last write has been answered when this returns."""
        self._over.set()
        self.join(PATIENCE)
        assert not self.is_alive()


if __name__ == "__main__":
    raise SystemExit(main())
