"""With whom a node is connected: the members of the configuration it goes by, wherever that says they are."""

from __future__ import annotations

from hacoord.config import parse_address
from hacoord.net.transport import Transport
from hacoord.raft.core import Raft


class Peers:
    """Keeps a node's connections in step with the group."""

    def __init__(self, raft: Raft, transport: Transport, grace: float) -> None:
        """Who is removed is refused, and told why, only `grace` seconds later: it may be added again at once."""
        self._raft = raft
        self._transport = transport
        self._grace = grace
        self._group = raft.log.group.current
        self._committed = raft.log.group.at(raft.commit_index)[1]
        self._gone: dict[str, float] = {}
        transport.group = lambda: raft.log.group.index
        transport.removed = raft.removal
        transport.joining = raft.part is None

    def turn(self, now: float) -> None:
        """Look whether the group has changed. `now` is seconds on a monotonic clock."""
        group, transport = self._raft.log.group, self._transport
        current, committed = group.current, group.at(self._raft.commit_index)[1]
        if current is not self._group or committed is not self._committed:
            self._group, self._committed = current, committed
            transport.joining = self._raft.part is None
            # Who has left can still be needed, and is to hear of it, until that is committed.
            members = {**committed.members, **current.members}
            members.pop(self._raft.name, None)
            for name, member in members.items():
                transport.set_address(name, parse_address(member.address))
            left = transport.peers - members.keys()
            self._gone = {name: self._gone.get(name, now + self._grace) for name in left}
        for name in [name for name, at in self._gone.items() if at <= now]:
            del self._gone[name]
            transport.forget(name)
