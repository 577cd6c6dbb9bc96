"""From a behaviour of Accepted.tla to a trace: what the checker would let pass if one of its guards were missing.

Every step of Accepted is one line, so the trace says what the state says, whether a node of any protocol could have
come to it or not:

- The event's term is the node's after the step. Logs are sequences of entries, so digests are chained hashes of these.
- "Heard" is modelled as written. So before each event its node has heard the newest event of everybody else, and the
  trace can be read in one order only.
- What is chosen within a step and leaves no mark is chosen by the guards that are left: the events cited are all that
  they admit, and where one of them is missing others as well, as long as they are needed.
- Crash is no line. Where nodes run from the beginning, each begins with a Start that shows an empty disk.

States are TLC's as it writes them, a function on terms as a list: terms count from 1, lists from 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from exporter import Behaviour, Ref, State, fingerprint

# A log, and an entry of it: its term, who made it, and the voters it names, of a configuration.
Made = list[Any]
Log = list[Made]


class Writer:
    """Writes down a behaviour that ends in a violation because the guard `missing` is not asked."""

    def __init__(self, cluster: str, missing: str, nodes: Iterable[str]) -> None:
        self.files: dict[str, list[str]] = {}
        self._cluster = cluster
        self._missing = missing
        self._nodes = sorted(nodes)
        self._incarnations: dict[str, str] = {}
        self._clock = 0
        # The newest event of each node and client, and of each the newest event of others that it has heard.
        self._newest: dict[str, Ref] = {}
        self._heard: dict[str, dict[str, Ref]] = {}
        # Per term and node: the Campaign, the vote (a Campaign or a Grant), the newest Store.
        self._campaigns: dict[tuple[int, str], Ref] = {}
        self._votes: dict[tuple[int, str], Ref] = {}
        self._stores: dict[tuple[int, str], Ref] = {}
        # Events that name a position, as [term, index]; Commits with the index they reach; Acks by index and term.
        self._ends: list[tuple[list[int], Ref]] = []
        self._commits: list[tuple[int, Ref]] = []
        self._acks: dict[tuple[int, int], Ref] = {}
        # The Images and Installs, by node and digest.
        self._images: dict[tuple[str, str], Ref] = {}

    def write(self, behaviour: Behaviour) -> None:
        """All of it."""
        first = behaviour.states[0]
        for node in self._nodes:
            if first["type"][node] != "DOWN":
                self._start(node, first, first)
        for (action, names), (before, after) in zip(behaviour.steps, pairwise(behaviour.states), strict=True):
            node = names[0] if names else ""
            match action:
                case "Commit" | "CommitByStores" | "CommitByHearsay":
                    self._commit(node, before, after, hearsay=action == "CommitByHearsay")
                case "Ok":
                    self._ok(before, after)
                case _:
                    getattr(self, f"_{action.lower()}")(node, before, after)

    def _tell(self, name: str, event: str, term: int, own: State) -> Ref:
        """Writes one line, whose writer has heard everything; returns its reference."""
        inc = self._incarnations[name]
        lines = self.files[f"{name}.{inc}.ndjson"]
        reference: Ref = [name, inc, len(lines) + 1]
        self._clock += 1
        line = {"v": 1, "cluster": self._cluster, "node": name, "inc": inc, "seq": reference[2]}
        line |= {"ts": self._clock * 1_000_000, "event": event, "term": term} | own
        others = {other: newest for other, newest in self._newest.items() if other != name}
        if news := [newest for other, newest in others.items() if self._heard[name].get(other) != newest]:
            line["after"] = news
        lines.append(json.dumps(line, separators=(",", ":")))
        self._heard[name] = others
        self._newest[name] = reference
        if "last_term" in own:
            self._ends.append(([own["last_term"], own["last"]], reference))
        return reference

    def _begin(self, name: str) -> None:
        """A file of its own for a process that starts."""
        counter = int(self._incarnations.get(name, "0-").partition("-")[0]) + 1
        self._incarnations[name] = f"{counter}-{fingerprint(name, counter)[:8]}"
        self.files[f"{name}.{self._incarnations[name]}.ndjson"] = []
        self._heard[name] = {}

    # The frontend

    def _start(self, node: str, before: State, after: State) -> None:
        self._begin(node)
        term, log = after["term"][node], after["log"][node]
        vote = after["vote"][term - 1][node] if term else "None"
        own: State = {"vote": None if vote == "None" else vote, **end(position(log)), "digest": digest(log)}
        self._tell(node, "Start", term, own | {"disk": f"disk-{node}", "voters": self._voters(log)})

    def _activate(self, node: str, before: State, after: State) -> None:
        term = after["term"][node]
        self._tell(node, "Activate", term, {"epoch": after["epoch"][term - 1][node]})

    def _lose(self, node: str, before: State, after: State) -> None:
        self._tell(node, "Lose", after["term"][node], {})

    def _transfer(self, node: str, before: State, after: State) -> None:
        self._tell(node, "Transfer", after["term"][node], {"to": after["type"][node]})

    def _exit(self, node: str, before: State, after: State) -> None:
        self._tell(node, "Exit", after["term"][node], {"code": 0})

    def _crash(self, node: str, before: State, after: State) -> None:
        """The incarnation has no more lines."""

    # Elections

    def _voters(self, log: Log) -> list[str]:
        """By the last configuration in a log; the founders are all nodes."""
        return next((sorted(voters) for _, _, voters in reversed(log) if voters), self._nodes)

    def _campaign(self, node: str, before: State, after: State) -> None:
        term = after["term"][node]
        asked = after["asked"][term - 1][node]
        own = {**end(asked["position"]), "voters": sorted(asked["voters"])}
        self._campaigns[term, node] = self._votes[term, node] = self._tell(node, "Campaign", term, own)

    def _grant(self, node: str, before: State, after: State) -> None:
        term = after["term"][node]
        candidate = after["vote"][term - 1][node]
        own = position(before["log"][node])
        asked = before["asked"][term - 1][candidate]
        if self._missing == "CampaignHeard" and (asked == "None" or asked["position"] < own):
            # Then the candidate's log is known from something else: whatever shows one that is up to date.
            campaign = next(reference for named, reference in self._ends if named >= own)
        else:
            campaign = self._campaigns[term, candidate]
        if self._missing == "TruePosition":
            own = min(own, asked["position"])
        fields = {"candidate": candidate, "campaign": campaign, **end(own)}
        self._votes[term, node] = self._tell(node, "Grant", term, fields)

    def _win(self, node: str, before: State, after: State) -> None:
        term = after["term"][node]
        asked = before["asked"][term - 1][node]
        voters = self._nodes if asked == "None" else sorted(asked["voters"])
        right = [v for v in voters if before["vote"][term - 1][v] == node and (term, v) in self._votes]
        cited = {v: self._votes[term, v] for v in right}
        if self._missing == "GrantsCited":
            self._fill(cited, voters, self._votes)
        self._tell(node, "Win", term, {"grants": list(cited.values())})

    def _fill(self, cited: dict[str, Ref], voters: list[str], events: dict[tuple[int, str], Ref]) -> None:
        """Cites whatever there is, of other terms or of votes for others, until there is a majority."""
        for (_, name), reference in reversed(events.items()):
            if name in voters and 2 * len(cited) <= len(voters):
                cited.setdefault(name, reference)

    # The log

    def _append(self, node: str, before: State, after: State) -> None:
        term, log = after["term"][node], after["log"][node]
        own: State = {"first": len(log), "last": len(log), "digest": digest(log)}
        if is_record(log, len(log)):
            own["epoch"] = after["epoch"][term - 1][node]
        if voters := log[-1][2]:
            own["members"] = [[name, "voter", name] for name in sorted(voters)]
            own["stores"] = [self._stores[term, v] for v in self._nodes if (term, v) in self._stores]
        self._tell(node, "Append", term, own)

    def _store(self, node: str, before: State, after: State) -> None:
        term = after["term"][node]
        log = after["stored"][term - 1][node]
        self._stores[term, node] = self._tell(node, "Store", term, end(position(log)) | {"digest": digest(log)})

    def _commit(self, node: str, before: State, after: State, hearsay: bool) -> None:
        term, known, last = after["term"][node], before["commit"][node], after["commit"][node]
        log: Log = before["log"][node][:last]
        if self._missing == "CommitContiguous":  # then it may be another's log
            claimed = [c for c in after["counted"] + after["committed"] if c not in before["counted"]]
            log = next(c[:last] for c in claimed if len(c) >= last)
        runs: list[list[int]] = []
        for index in range(known + 1, last + 1):
            if runs and not is_record(log, index):
                runs[-1][1] = index
            else:
                runs.append([index, index, log[index - 1][0]])
        records = [index for index in range(known + 1, last + 1) if is_record(log, index)]
        own: State = {"runs": runs, "digest": digest(log)}
        if records:
            own["epochs"] = [[index, epoch_named(log[index - 1], before, after)] for index in records]
        if not hearsay:
            own["stores"] = self._counted(before, term, node, last)
        elif heard := [ref for reach, ref in self._commits if reach >= last]:
            own["leader_commit"] = heard[-1]
        self._commits.append((last, self._tell(node, "Commit", term, own)))

    def _counted(self, now: State, term: int, node: str, last: int) -> list[Ref]:
        voters = self._voters(now["log"][node])
        cited = {v: self._stores[term, v] for v in voters if len(now["stored"][term - 1][v]) >= last}
        if self._missing == "StoresCited":
            far = {(t, v): ref for (t, v), ref in self._stores.items() if len(now["stored"][t - 1][v]) >= last}
            self._fill(cited, voters, far)
        return list(cited.values())

    # Images

    def _image(self, node: str, before: State, after: State) -> None:
        log = after["image"][node]
        own = end(position(log)) | {"digest": digest(log)}
        self._images[node, digest(log)] = self._tell(node, "Image", after["term"][node], own)

    def _install(self, node: str, before: State, after: State) -> None:
        term, log = after["term"][node], after["image"][node]
        shown = [ref for (who, named), ref in self._images.items() if who != node and named == digest(log)]
        # Without InstallCited nobody need have an image of it: then whatever has come from who made its end.
        shown.append(self._newest[log[-1][1]])
        own = end(position(log)) | {"digest": digest(log), "image": shown[0]}
        self._images[node, digest(log)] = self._tell(node, "Install", term, own)

    # Clients

    def _ack(self, node: str, before: State, after: State) -> None:
        term = after["term"][node]
        for index, entry in after["acked"]:
            if [index, entry] not in before["acked"]:
                self._acks[index, entry[0]] = self._tell(node, "Ack", term, {"first": index, "last": index})

    def _ok(self, before: State, after: State) -> None:
        client = "client"
        if client not in self._incarnations:
            self._begin(client)
        for index, entry in after["promised"]:
            if [index, entry] not in before["promised"]:
                # Without PromiseKept nobody need have promised it.
                ack = self._acks.get((index, entry[0]), self._newest[entry[1]])
                op = f"{index}-{entry[0]}"
                self._tell(client, "Invoke", 0, {"op": op})
                self._tell(client, "Ok", 0, {"op": op, "index": index, "entry_term": entry[0], "ack": ack})


def position(log: Log) -> list[int]:
    return [log[-1][0] if log else 0, len(log)]


def end(named: list[int]) -> State:
    return {"last": named[1], "last_term": named[0]}


def is_record(log: Log, index: int) -> bool:
    return index == 1 or log[index - 2][0] != log[index - 1][0]


def epoch_named(entry: Made, before: State, after: State) -> int:
    """The epoch by which a Commit calls this record: one that nobody has named yet, if there is one."""
    named: list[int] = [epoch for record, epoch in after["named"] if record == entry]
    earlier = [epoch for record, epoch in before["named"] if record == entry]
    return next((epoch for epoch in named if epoch not in earlier), named[0])


def digest(log: Log) -> str:
    """Chained, as the format wants it: each entry is hashed with the digest of what lies before it."""
    chain = "0" * 16
    for term, maker, voters in log:
        chain = fingerprint(chain, term, maker, sorted(voters))
    return chain
