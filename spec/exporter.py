"""From a behaviour of HACoordination.tla to the traces of its nodes.

A behaviour becomes what its nodes would have written down (docs/trace-format.md), right or wrong. Each step of the
protocol is the event of the same name, and what it makes use of has been heard of: a Grant the Campaign, a Win the
Grants, a Store the leader's Append, a Commit the Stores. The differences between the two are these:

- Win puts the epoch record into the leader's log: `Win`, then `Append`.
- The protocol moves a leader's commit pointer by one entry, and MayCommit lets it pass over entries of earlier terms
  on the strength of a later one. A node does that at once: `Commit` is written when the pointer stands on an entry of
  the leader's own term, or as far as MayCommit lets it (`reach`; not the same in a wrong protocol only).
- Ack leaves no mark in the protocol's state, and TLC's counterexamples never take it. Here a LEADER acknowledges
  a write as soon as MayAck allows it (`acks`).
- A Store that repeats the last one of its incarnation, or a Grant that repeats a vote, is no event.
- What does not show yet at the end of a behaviour is made to, by further steps that are possible there: the pointer
  of the leader whose Commit is the last step goes as far as it may, and who has crashed starts.
- Crash is no event. The next Start shows what is left. A node that has lost term, votes and log has an empty data
  directory: the disk is another one, and incarnations are counted from 1 again.
- An image of nothing is no event, and a Start shows the image there is (`image`, how many entries it stands for).
- A group that changes (membership.py) has its configurations in the logs. A right leader cites the Stores of voters, a
  wrong one all it knows of.
- Followers' Commits and clients are not in the protocol, and not in these traces. `leader_commit` never occurs.
- Timestamps count the steps; the random part of an incarnation and the digests are hashes. Runs repeat exactly.

States are TLC's, with two things more: `reach`, how far each leader's pointer may go, and `acks`, the writes that each
LEADER may acknowledge (traces.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

State = dict[str, Any]
Entry = dict[str, Any]
Ref = list[Any]


@dataclass
class Behaviour:
    """What TLC found: states[k] and steps[k] lead to states[k + 1]; `violates` nothing if it is right.

    `length` is the number of states that TLC shows.
    """

    violates: str
    states: list[State]
    steps: list[tuple[str, list[str]]]
    length: int


@dataclass
class Node:
    """What a node has to keep in mind to write its trace: this incarnation, and which one of how many it is."""

    name: str
    disks: int = 1
    incarnations: int = 0
    inc: str = ""
    crashed: bool = False
    lines: list[str] = field(default_factory=list)
    campaign: Ref = field(default_factory=list)
    # The event of this incarnation that shows its image.
    image: Ref = field(default_factory=list)
    stored: tuple[int, ...] = ()
    committed: int = 0
    acknowledged: set[tuple[int, int]] = field(default_factory=set)


class Exporter:
    """Writes down a behaviour, step by step. Terms count from 1, lists of the state from 0."""

    def __init__(self, cluster: str, names: Iterable[str]) -> None:
        self.files: dict[str, list[str]] = {}
        self._cluster = cluster
        self._nodes = {name: Node(name) for name in sorted(names)}
        self._clock = 0
        self._wrong = False
        # Per term: the Campaigns by candidate, the Grants by voter, the leader's Appends with the index they reach,
        # and by node the Store that the leader counts.
        self._campaigns: dict[tuple[int, str], Ref] = {}
        self._grants: dict[tuple[int, str], Ref] = {}
        self._appends: dict[int, list[tuple[int, Ref]]] = {}
        self._stores: dict[tuple[int, str], Ref] = {}

    def export(self, behaviour: Behaviour) -> None:
        """All of it."""
        self._wrong = bool(behaviour.violates)
        for name in self._nodes:
            if behaviour.states[0]["type"][name] != "DOWN":
                self._start(name, behaviour.states[0])
        for (action, parameters), (before, after) in zip(behaviour.steps, pairwise(behaviour.states), strict=True):
            self._clock += 1
            getattr(self, f"_{action.lower()}")(*parameters, before, after)
            for name, node in self._nodes.items():
                self._acknowledge(node, after["term"][name], after["acks"][name])
        action, parameters = behaviour.steps[-1]
        last = behaviour.states[-1]
        if action == "Commit":
            self._commit_up_to(parameters[0], last, last["reach"])
        for name, node in self._nodes.items():
            if node.crashed:
                self._start(name, last)

    def _tell(self, node: Node, event: str, term: int, own: State, heard: Iterable[Ref] = ()) -> Ref:
        """Writes one line; returns its reference. Of what was heard, one's own doings are known anyway."""
        reference: Ref = [node.name, node.inc, len(node.lines) + 1]
        line = {"v": 1, "cluster": self._cluster, "node": node.name, "inc": node.inc, "seq": reference[2]}
        line |= {"ts": self._clock * 1_000_000, "event": event, "term": term} | own
        if after := [other for other in heard if other[:2] != reference[:2]]:
            line["after"] = after
        node.lines.append(json.dumps(line, separators=(",", ":")))
        return reference

    # The frontend

    def _start(self, name: str, before: State, after: State | None = None) -> None:
        node, term, log = self._nodes[name], before["term"][name], before["log"][name]
        node.incarnations += 1
        node.inc = f"{node.incarnations}-{fingerprint(name, node.disks, node.incarnations)[:8]}"
        node.lines = self.files[f"{name}.{node.inc}.ndjson"] = []
        node.crashed, node.stored, node.committed, node.acknowledged = False, (), 0, set()
        vote = before["vote"][term - 1][name] if term else "None"
        own: State = {"vote": None if vote == "None" else vote, **end(log), "digest": digest(log)}
        own |= {"disk": f"disk-{name}-{node.disks}", "voters": self._voters(name, before, log)}
        if "founders" in before and own["voters"] and not any("members" in entry for entry in log):
            own["members"] = before["founders"]
        if last := before.get("image", {}).get(name, 0):
            own["image"] = [*end(log[:last]).values(), digest(log[:last])]
            node.committed = last
        node.image = self._tell(node, "Start", term, own)

    def _voters(self, name: str, now: State, log: list[Entry]) -> list[str]:
        """By the last configuration in a log of this node's, or the one that the group was set up with."""
        if "founders" not in now:
            return list(self._nodes)
        groups = [entry["members"] for entry in log if "members" in entry]
        group = groups[-1] if groups else now["founders"]
        return [n for n, part, _ in group if part == "voter"] if groups or name not in now["blank"] else []

    def _transfer(self, name: str, to: str, before: State, after: State) -> None:
        self._tell(self._nodes[name], "Transfer", after["term"][name], {"to": to})

    def _exit(self, name: str, before: State, after: State) -> None:
        lost = before["type"][name] == "LEADER" and before["role"][name] != "leader"
        self._tell(self._nodes[name], "Exit", after["term"][name], {"code": 3 if lost else 0})

    def _crash(self, name: str, before: State, after: State) -> None:
        node = self._nodes[name]
        node.crashed = True
        forgot = after["term"][name] < before["term"][name]
        emptied = before["log"][name] and not after["log"][name]
        blank = name in after.get("blank", ()) and name not in before.get("blank", ())
        if blank or (forgot and emptied):
            node.disks += 1
            node.incarnations = 0

    # Elections

    def _campaign(self, name: str, before: State, after: State) -> None:
        node, term = self._nodes[name], after["term"][name]
        own = end(before["log"][name]) | {"voters": self._voters(name, before, before["log"][name])}
        node.campaign = self._tell(node, "Campaign", term, own)
        self._campaigns[term, name] = node.campaign

    def _grant(self, name: str, candidate: str, before: State, after: State) -> None:
        for term, (old, new) in enumerate(zip(before["vote"], after["vote"], strict=True), 1):
            if old[name] != new[name]:
                asked, node = self._campaigns[term, candidate], self._nodes[name]
                own = {"candidate": candidate, "campaign": asked, **end(before["log"][name])}
                self._grants[term, name] = self._tell(node, "Grant", term, own, [asked])

    def _win(self, name: str, before: State, after: State) -> None:
        node, term = self._nodes[name], after["term"][name]
        votes = before["vote"][term - 1]
        counted = self._counted(name, before, before["log"][name])
        grants = [node.campaign if n == name else self._grants[term, n] for n in counted if votes[n] == name]
        self._tell(node, "Win", term, {"grants": grants}, grants)
        self._appends[term] = []
        self._append(name, before, after)

    def _lose(self, name: str, before: State, after: State) -> None:
        self._tell(self._nodes[name], "Lose", before["term"][name], {})

    # The log

    def _append(self, name: str, before: State, after: State) -> None:
        node, term = self._nodes[name], after["term"][name]
        log = after["leaderLog"][term - 1]
        own: State = {"first": len(log), "last": len(log), "digest": digest(log)}
        stores: list[Ref] = []
        if log[-1]["epoch"]:
            own["epoch"] = log[-1]["epoch"]
        if "members" in log[-1]:
            stores = [self._stores[term, n] for n in self._nodes if (term, n) in self._stores]
            own |= {"members": log[-1]["members"], "stores": stores}
        self._appends[term].append((len(log), self._tell(node, "Append", term, own, stores)))

    def _store(self, name: str, before: State, after: State) -> None:
        node, log = self._nodes[name], after["log"][name]
        more = [t for t, a in enumerate(after["acked"], 1) if a[name] > before["acked"][t - 1][name]]
        # Where it has confirmed as much before, it is in the term whose leader it hears.
        term = more[0] if more else after["term"][name]
        if node.stored == (term, len(log)) or not log:
            return
        node.stored = term, len(log)
        sent = [(last, ref) for last, ref in self._appends[term] if last >= len(log)]
        # It comes from a leader that goes by a configuration with this node.
        heard = next((ref for last, ref in sent if self._is_member(name, after, term, last)), sent[0][1])
        store = self._tell(node, "Store", term, end(log) | {"digest": digest(log)}, [heard])
        if more:
            self._stores[term, name] = store

    def _is_member(self, name: str, now: State, term: int, last: int) -> bool:
        """By the configuration that a leader of this term goes by whose log ends there."""
        groups = [e["members"] for e in now["leaderLog"][term - 1][:last] if "members" in e]
        group = groups[-1] if groups else now.get("founders")
        return group is None or any(member == name for member, _, _ in group)

    def _commit(self, name: str, before: State, after: State) -> None:
        term = after["term"][name]
        last, furthest = after["commit"][term - 1], after["reach"][term - 1]
        if last == furthest or after["leaderLog"][term - 1][last - 1]["term"] == term:
            self._commit_up_to(name, after, after["commit"])

    # Images

    def _image(self, name: str, before: State, after: State) -> None:
        node, log = self._nodes[name], after["log"][name][: after["image"][name]]
        if log:
            node.image = self._tell(node, "Image", after["term"][name], end(log) | {"digest": digest(log)})

    def _install(self, name: str, leader: str, before: State, after: State) -> None:
        node, log = self._nodes[name], after["log"][name][: after["image"][name]]
        if log:
            sender = self._nodes[leader]
            own = end(log) | {"digest": digest(log), "image": sender.image}
            heard: Ref = [leader, sender.inc, len(sender.lines)]
            node.image = self._tell(node, "Install", after["term"][name], own, [heard])
            node.committed = max(node.committed, len(log))

    def _counted(self, name: str, now: State, log: list[Entry]) -> list[str]:
        """Whose votes and Stores a node with this log counts."""
        return list(self._nodes) if self._wrong else self._voters(name, now, log)

    def _commit_up_to(self, name: str, now: State, pointers: list[int]) -> None:
        node, term = self._nodes[name], now["term"][name]
        log, last = now["leaderLog"][term - 1], pointers[term - 1]
        if last <= node.committed:
            return
        runs: list[list[int]] = []
        for index in range(node.committed + 1, last + 1):
            entry_term = log[index - 1]["term"]
            if runs and runs[-1][2] == entry_term:
                runs[-1][1] = index
            else:
                runs.append([index, index, entry_term])
        records = [[i, log[i - 1]["epoch"]] for i in range(node.committed + 1, last + 1) if log[i - 1]["epoch"]]
        counted = self._counted(name, now, log)
        stores = [self._stores[term, n] for n in counted if (term, n) in self._stores]
        own: State = {"runs": runs, "digest": digest(log[:last]), "stores": stores}
        if records:
            own["epochs"] = records
        self._tell(node, "Commit", term, own, stores)
        node.committed = last

    def _activate(self, name: str, before: State, after: State) -> None:
        term = after["term"][name]
        epoch = next((e["epoch"] for e in after["leaderLog"][term - 1] if e["term"] == term), 0)
        self._tell(self._nodes[name], "Activate", term, {"epoch": epoch})

    def _ack(self, name: str, before: State, after: State) -> None:
        """Has been written already."""

    def _acknowledge(self, node: Node, term: int, owed: list[int]) -> None:
        for index in sorted(owed):
            if (term, index) not in node.acknowledged:
                node.acknowledged.add((term, index))
                self._tell(node, "Ack", term, {"first": index, "last": index})


def end(log: list[Entry]) -> State:
    return {"last": len(log), "last_term": log[-1]["term"] if log else 0}


def digest(log: list[Entry]) -> str:
    """Chained, as the format wants it: each entry is hashed with the digest of what lies before it."""
    chain = "0" * 16
    for entry in log:
        chain = fingerprint(chain, entry["term"], entry["epoch"], entry["owner"])
    return chain


def fingerprint(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
