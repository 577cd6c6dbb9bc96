"""Whether the others would let a node in: asked once, before it starts."""

from __future__ import annotations

from collections.abc import Iterable

from hacoord.config import Address
from hacoord.disk.storage import Storage
from hacoord.exits import Exit, NodeFailed
from hacoord.net.connect import ClientConnection, ConnectionFailed
from hacoord.net.handshake import HandshakeRefused
from hacoord.net.tls import Certificates

PATIENCE = 0.5
"""Seconds for which each of them is waited for."""


def check_welcome(
    storage: Storage, inc: str, secret: bytes, peers: Iterable[Address], certificates: Certificates | None
) -> None:
    """Ask the peers that run. Raises NodeFailed if they refuse the node, so that it could never have a majority.

    Done once, at the start: a node that already works is not to be ended by what others refuse.
    """
    refusals: list[str] = []
    asked = list(peers)
    for address in asked:
        try:
            ClientConnection(
                address,
                cluster=storage.cluster,
                secret=secret,
                name=storage.node,
                inc=inc,
                timeout=PATIENCE,
                certificates=certificates,
                disk=storage.disk,
            ).close()
        except ConnectionFailed:
            continue  # not running, or not yet
        except HandshakeRefused as refused:
            if refused.removed is None:  # who has been removed ends when its log has been looked at
                refusals.append(str(refused))
    members = len(asked) + 1
    if members - len(refusals) < members // 2 + 1:
        raise NodeFailed(Exit.REFUSED, f"refused by {len(refusals)} of {len(asked)} other members: {refusals[0]}")
