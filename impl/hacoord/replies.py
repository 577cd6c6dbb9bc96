"""What a node says to a client's requests, as JSON that `Client` understands."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict

from hacoord.ha.membership import Changed, ChangeUnknown
from hacoord.journal import GivenUp, Journal, NotLeader, Outcome, OutcomeUnknown, Overloaded, ReadPoint, Receipt
from hacoord.raft.changes import ChangeRefused
from hacoord.raft.group import Configuration

READ_LIMIT = 1 << 20
"""A reply to `read` holds entries of this many bytes at most, and always one if there is one."""


def fate(outcome: Outcome, group: Configuration) -> dict[str, object]:
    """What became of a write or a read; `group` says where its members are."""
    match outcome:
        case Receipt():
            return {"receipt": asdict(outcome)}
        case ReadPoint():
            return {"point": asdict(outcome)}
        case NotLeader(leader=leader):
            address = group.address_of(leader)
            return {"error": "not_leader", "reason": str(outcome), "leader": leader, "address": address}
        case Overloaded():
            return {"error": "overloaded", "reason": str(outcome)}
        case OutcomeUnknown():
            return {"error": "unknown", "reason": str(outcome)}


def changed(
    outcome: Changed | ChangeRefused | ChangeUnknown | NotLeader,
    cluster: dict[str, object],
    group: Configuration,
) -> dict[str, object]:
    """What became of a change of the group; `cluster` is what a node that joins needs to know of it."""
    match outcome:
        case Changed(index):
            return {"changed": index, **cluster}
        case NotLeader():
            return fate(outcome, group)
        case ChangeRefused():
            return {"error": "refused", "reason": str(outcome)}
        case ChangeUnknown():
            return {"error": "unknown", "reason": str(outcome)}


def entries(journal: Journal, first: int, last: int) -> dict[str, object]:
    """As many of the entries asked for as one reply holds; `next` is where to go on, `commit` where the end is."""
    found: list[dict[str, object]] = []
    size = 0
    applied = journal.applied
    at = max(first, 1)
    if at < journal.first:
        return {"error": "given_up", "reason": str(GivenUp(journal.first)), "first": journal.first}
    while at <= min(last, applied) and size < READ_LIMIT:
        for entry in journal.read(at, at):
            size += len(entry.data) + 100  # and what JSON puts around it
            data = base64.b64encode(entry.data).decode()
            found.append({"index": entry.index, "term": entry.term, "epoch": entry.epoch, "data": data})
        at += 1
    return {"entries": found, "next": at, "commit": applied}


def key_of(body: Mapping[str, object]) -> str | None:
    """The idempotency key of a request that writes, None if it has none. Raises ValueError."""
    key = body.get("idempotency")
    if key is None or isinstance(key, str):
        return key
    raise ValueError(f"idempotency: a string is wanted, not {key!r:.80}")
