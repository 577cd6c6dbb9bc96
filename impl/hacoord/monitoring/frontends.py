"""`hacoord show frontends`: one row for each frontend of the cluster, from whichever node is asked.

A node tells what it knows of all (`view`); the leader knows most. Each frontend is then asked for the rest, and
`ErrMsg` says why if one can't be reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

from hacoord.client import Client, Unreachable
from hacoord.monitoring.monitor import Monitor
from hacoord.raft.core import Raft
from hacoord.raft.group import Part

COLUMNS = (
    "Name", "IP", "Port", "HttpPort", "Role", "ClusterId", "Join", "Alive", "ReplayedJournalId", "LastHeartbeat",
    "ErrMsg", "StartTime", "Version",
)  # fmt: skip


_ROLES = {Part.VOTER: "FOLLOWER", Part.LEARNER: "FOLLOWER", Part.OBSERVER: "OBSERVER"}


def view(raft: Raft, monitor: Monitor) -> list[dict[str, object]]:
    """What one node knows of all frontends. `alive` is whether it hears of them; a node always hears of itself."""
    return [
        {
            "name": member.name,
            "address": member.address,
            "role": "LEADER" if member.name == raft.leader else _ROLES[member.part],
            "join": member.part is not Part.LEARNER,
            "alive": member.name == raft.name or monitor.up(member.name),
            "last_heartbeat": monitor.heard.get(member.name),
        }
        for member in raft.log.group.current.members.values()
    ]


def rows(client: Client, addresses: Sequence[str]) -> list[dict[str, object]]:
    """One row for each frontend, with COLUMNS as its keys. Raises Unreachable when none of the addresses answers."""
    asked, seen = _best_view(client, addresses)
    return [_row(client, asked, frontend) for frontend in seen]


def _best_view(client: Client, addresses: Sequence[str]) -> tuple[str, list[Mapping[str, object]]]:
    """Who tells, and what; the leader, if one of the nodes knows where it is and it answers."""
    found: tuple[str, list[Mapping[str, object]]] | None = None
    reasons: list[str] = []
    for address in addresses:
        try:
            found = _ask(client, address)
            leaders = [str(each["address"]) for each in found[1] if each["role"] == "LEADER"]
            return _ask(client, leaders[0]) if leaders and leaders[0] != address else found
        except Unreachable as error:
            reasons.append(str(error))
            if found is not None:
                return found
    raise Unreachable(reasons[0] if len(reasons) == 1 else f"none of the nodes answers: {'; '.join(reasons)}")


def _ask(client: Client, address: str) -> tuple[str, list[Mapping[str, object]]]:
    match client.ask(address, {"op": "frontends"}):
        case {"node": str(name), "frontends": [*frontends]}:
            return name, cast("list[Mapping[str, object]]", frontends)
        case reply:
            raise Unreachable(f"{address}: {reply.get('reason', 'an answer that is none')}")


def _row(client: Client, asked: str, frontend: Mapping[str, object]) -> dict[str, object]:
    name, address = str(frontend["name"]), str(frontend["address"])
    error = ""
    try:
        own = client.status(address)
        if own.get("node") != name:
            own, error = {}, f"{address} is now the address of {own.get('node')}"
    except Unreachable as unreachable:
        own, error = {}, str(unreachable)
    host, _, port = address.rpartition(":")
    heard = own.get("now") if name == asked else frontend["last_heartbeat"]
    return {
        "Name": name,
        "IP": host,
        "Port": int(port),
        "HttpPort": own.get("http_port"),
        "Role": frontend["role"],
        "ClusterId": own.get("cluster"),
        "Join": frontend["join"],
        "Alive": frontend["alive"],
        "ReplayedJournalId": own.get("applied"),
        "LastHeartbeat": _time(heard),
        "ErrMsg": error,
        "StartTime": _time(own.get("start_time")),
        "Version": own.get("version"),
    }


def _time(seconds: object) -> str | None:
    """Seconds since 1970 as ISO 8601, in UTC."""
    if not isinstance(seconds, int | float):
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
