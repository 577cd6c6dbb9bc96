"""One piece of a trace in the small numbers of spec/Recorded.tla, and the state of the protocol between two pieces.

A state of HACoordination holds every log entry by entry and something for every term there has been. What the next
piece can ask about is little of that, so a piece gets numbers of its own:

- Terms. Only their order matters to the protocol. Kept are those that a node is still in or below, the one whose leader
  knows most to be committed, those whose entries are in a kept log, and those the events name; they become 1, 2, 3, ...
  An earlier term cannot come up: to vote or store in it, a node would have to go back.
- Indexes. Only comparisons matter, with those that an event names, where a log or a pointer ends, or where a term's run
  of entries begins: the cuts. What lies between two cuts is one entry. It is all of one term, and whoever has its last
  entry has all of it; so the protocol treats it as one.
- The beginning. What lies before the first cut is the same in all logs that are not empty and becomes one entry, the
  epoch record of the term it ends with. Earlier runs of it are dropped once they are committed; then epochs count from
  the first one left. Nothing asks what is inside: no event names an index there, and no log ends there.

Pointers (acknowledged, committed, asked with) are rounded down to a cut. They are only ever compared with cuts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trace_check.audit.tlc import literal
from trace_check.read import Source
from trace_check.tree import Position

MANY = 1_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """The entries of one leader in a log, up to index `last`; the first of them is its epoch record."""

    term: int
    epoch: int
    owner: str
    last: int


Log = tuple[Run, ...]


@dataclass(slots=True)
class Member:
    """A node, as HACoordination has it; `shown` is the term of its last event."""

    term: int = 0
    log: Log = ()
    type: str = "DOWN"
    role: str = "follower"
    shown: int = 0


@dataclass(slots=True)
class Term:
    """A term, as HACoordination has it. What is not in a dictionary is None or 0 there."""

    log: Log = ()
    commit: int = 0
    active: bool = False
    winners: frozenset[str] = frozenset()
    acked: dict[str, int] = field(default_factory=dict)
    vote: dict[str, str | None] = field(default_factory=dict)
    request: dict[str, Position] = field(default_factory=dict)


@dataclass(slots=True)
class State:
    """The state between two pieces, in the trace's own numbers."""

    members: dict[str, Member]
    terms: dict[int, Term]


@dataclass(frozen=True, slots=True)
class Step:
    """A step for Recorded.tla, in the trace's own numbers, and the event that it stands for or goes before."""

    action: str
    node: str
    term: int
    source: Source
    seq: int
    last: int = 0
    last_term: int = 0
    first: int = 0
    other: str | None = None
    by: tuple[str, ...] = ()
    epoch: int | None = None
    epochs: tuple[tuple[int, int], ...] = ()

    def indexes(self) -> list[int]:
        """The indexes it names."""
        match self.action:
            case "Campaign":  # if it wins, its epoch record is the next one
                return [self.last, self.last + 1]
            case "Append":
                return [self.first - 1, self.last] + ([self.first] if self.epoch is not None else [])
            case "Ack":
                return [self.first - 1, self.last]
        return [self.last]


class Piece:
    """Numbers for some steps from some state on."""

    def __init__(self, state: State, steps: Sequence[Step]) -> None:
        self.names = {name: f"n{at}" for at, name in enumerate(sorted(state.members), 1)}
        self._real = {short: name for name, short in self.names.items()}
        named = {i for step in steps for i in step.indexes()}
        self.state = _pruned(state, named)
        members, terms = self.state.members.values(), self.state.terms
        logs = [log for log in (*(m.log for m in members), *(t.log for t in terms.values())) if log]
        self._offset = min((log[0].epoch for log in logs), default=1) - 1
        pointers = {t.commit for t in terms.values()}
        begin = min((i for i in named | pointers | {log[-1].last for log in logs} if i > 0), default=1)
        begin = min([begin, *(log[0].last for log in logs)])
        inside = {i for log in logs for a in log[:-1] for i in (a.last, a.last + 1)}
        asked = {position[0] + 1 for t in terms.values() for position in t.request.values()}
        ends = {log[-1].last for log in logs}
        self._cuts = sorted(i for i in named | pointers | inside | asked | ends | {begin} if i >= begin)
        wanted = {t for m in members for t in (m.term, m.shown)} | {run.term for log in logs for run in log}
        wanted |= {t for step in steps for t in (step.term, step.last_term)}
        wanted |= {position[1] for t in terms.values() for position in t.request.values()}
        self._terms = sorted((wanted | set(terms)) - {0})
        self.origin: list[Step] = []
        self._records = self._expand(steps)

    # --- into small numbers --------------------------------------------------------------------------------------

    def term(self, term: int) -> int:
        """Small number of a term."""
        return bisect_right(self._terms, term)

    def index(self, index: int) -> int:
        """Small number of an index."""
        return bisect_right(self._cuts, index)

    def _epoch(self, epoch: int) -> int:
        return max(-1, min(epoch - self._offset, MANY))

    def config(self) -> dict[str, object]:
        """Node and Term."""
        return {"Node": set(self.names.values()), "Term": set(range(1, len(self._terms) + 1)) or {1}}

    def module(self) -> str:
        """A module that defines TheSteps and TheBegin."""
        steps = ",\n  ".join(literal(record) for record in self._records)
        definitions = f"TheSteps == <<\n  {steps}>>\nTheBegin ==\n  {self._begin()}"
        return f"---- MODULE Piece ----\nEXTENDS Recorded\n{definitions}\n====\n"

    def _begin(self) -> str:
        members = {short: self.state.members[name] for short, name in self._real.items()}
        terms = [self.state.terms.get(t, Term()) for t in self._terms or [1]]

        def per_node(values: dict[str, Any], otherwise: object) -> dict[str, object]:
            return {short: values.get(name, otherwise) for short, name in self._real.items()}

        request = [{name: (self.term(t), self.index(i)) for name, (i, t) in t.request.items()} for t in terms]
        vote = [{name: self.names.get(to or "") for name, to in t.vote.items()} for t in terms]
        acked = [{name: self.index(i) for name, i in t.acked.items()} for t in terms]
        return literal(
            {
                "term": {n: self.term(m.term) for n, m in members.items()},
                "log": {n: self._entries(m.log) for n, m in members.items()},
                "type": {n: m.type for n, m in members.items()},
                "role": {n: m.role for n, m in members.items()},
                "shown": {n: self.term(m.shown) for n, m in members.items()},
                "leaderLog": [self._entries(t.log) for t in terms],
                "acked": [per_node(a, 0) for a in acked],
                "commit": [self.index(t.commit) for t in terms],
                "active": {at for at, t in enumerate(terms, 1) if t.active},
                "winners": [{self.names[n] for n in t.winners} for t in terms],
                "vote": [per_node(v, None) for v in vote],
                "request": [per_node(r, (0, 0)) for r in request],
            }
        )

    def _entries(self, log: Log) -> list[dict[str, object]]:
        entries: list[dict[str, object]] = []
        for run in log:
            term = self.term(run.term)
            entries.append({"term": term, "epoch": self._epoch(run.epoch), "owner": self.names[run.owner]})
            more = self.index(run.last) - len(entries)
            entries += [{"term": term, "epoch": 0, "owner": None}] * more
        return entries

    # --- steps ---------------------------------------------------------------------------------------------------

    def _expand(self, steps: Iterable[Step]) -> list[dict[str, object]]:
        """One record for each entry that an Append adds or a Commit covers, and one for each other step."""
        records: list[dict[str, object]] = []
        pointers = {t: self.index(term.commit) for t, term in self.state.terms.items()}
        for step in steps:
            k = self.index(step.last)
            record = {"a": step.action, "n": self.names[step.node], "t": self.term(step.term), "k": k}
            record |= {"kt": self.term(step.last_term)}
            before = len(records)
            match step.action:
                case "Append":
                    first = self.index(step.first - 1) + 1
                    added = [record | {"k": i} for i in range(first, k + 1)] or [record | {"k": 0}]
                    if step.epoch is not None:
                        added[0] |= {"a": "Open", "e": self._epoch(step.epoch)}
                    records += added
                case "Commit":
                    times = max(1, k - pointers.get(step.term, 0))
                    pointers[step.term] = max(k, pointers.get(step.term, 0))
                    epochs = {(self.index(i), self._epoch(e)) for i, e in step.epochs if self._starts_run(i)}
                    records += [record | {"by": self._known(step.by), "epochs": epochs}] * times
                case "Ack":
                    records.append(record | {"i": self.index(step.first - 1) + 1})
                case "Win":
                    records.append(record | {"by": self._known(step.by)})
                case "Activate":
                    records.append(record | {"e": self._epoch(step.epoch or 0)})
                case "Grant" | "Vote":
                    records.append(record | {"c": self.names[step.other or ""]})
                case "Start":
                    records.append(record | {"v": self.names.get(step.other or "")})
                case "Transfer":
                    records.append(record | {"to": step.other})
                case _:
                    records.append(record)
            self.origin += [step] * (len(records) - before)
        # The invariants are asked for where elections and commitments have just changed; that they follow is TLC's
        # affair in `make check`, and to ask before every step takes longer than the steps.
        taken = ["", *(record["a"] for record in records[:-1])]
        return [r | {"inv": a in ("", "Win", "Commit", "Start")} for r, a in zip(records, taken, strict=True)]

    def _starts_run(self, index: int) -> bool:
        """Whether an index is a cut of its own, so that its entry is not part of the beginning."""
        at = self.index(index)
        return index == at == 1 or (at > 1 and self._cuts[at - 1] == index and self._cuts[at - 2] == index - 1)

    def _known(self, names: Iterable[str]) -> set[str]:
        return {self.names[name] for name in names if name in self.names}

    # --- and back ------------------------------------------------------------------------------------------------

    def read(self, value: dict[str, Any]) -> State:
        """The state that TLC has reached, in the trace's own numbers."""
        members = {
            name: Member(
                self._back(self._terms, value["term"][n]),
                self._log(value["log"][n]),
                value["type"][n],
                value["role"][n],
                self._back(self._terms, value["shown"][n]),
            )
            for n, name in self._real.items()
        }
        return State(members, {t: self._term(t, at, value) for at, t in enumerate(self._terms)})

    def _term(self, term: int, at: int, value: dict[str, Any]) -> Term:
        old = self.state.terms.get(term, Term())
        request = {self._real[n]: (k, t) for n, (t, k) in value["request"][at].items() if (t, k) != (0, 0)}
        for name, (k, t) in request.items():
            was = old.request.get(name, (0, 0))
            same = (self.index(was[0]), self.term(was[1])) == (k, t)
            request[name] = was if same else (self._back(self._cuts, k), self._back(self._terms, t))
        acked = {self._real[n]: k for n, k in value["acked"][at].items()}
        return Term(
            log=self._log(value["leaderLog"][at]),
            commit=self._pointer(old.commit, value["commit"][at]),
            active=at + 1 in value["active"],
            winners=frozenset(self._real[n] for n in value["winners"][at]),
            acked={n: self._pointer(old.acked.get(n, 0), k) for n, k in acked.items()},
            vote={self._real[n]: self._real.get(c or "") for n, c in value["vote"][at].items()},
            request=request,
        )

    def _pointer(self, old: int, small: int) -> int:
        return old if self.index(old) == small else self._back(self._cuts, small)

    @staticmethod
    def _back(numbers: list[int], small: int) -> int:
        return numbers[small - 1] if small else 0

    def _log(self, entries: Sequence[dict[str, Any]]) -> Log:
        runs: list[Run] = []
        for at, entry in enumerate(entries):
            if entry["epoch"]:
                term, epoch = self._back(self._terms, entry["term"]), entry["epoch"] + self._offset
                runs.append(Run(term, epoch, self._real[entry["owner"]], self._cuts[at]))
            else:
                last = runs.pop()
                runs.append(Run(last.term, last.epoch, last.owner, self._cuts[at]))
        return tuple(runs)


def _pruned(state: State, named: set[int]) -> State:
    """What of a state matters to steps that name these indexes."""
    members, terms = state.members, state.terms
    oldest = min(m.term for m in members.values())
    furthest = max(terms, key=lambda t: terms[t].commit, default=0)
    whole = {t: term for t, term in terms.items() if t >= oldest or t == furthest}
    logs = [log for log in (*(m.log for m in members.values()), *(t.log for t in whole.values())) if log]
    drop = _droppable(logs, named | {t.commit for t in whole.values()}, terms[furthest].commit if terms else 0)
    runs = {run.term for log in logs for run in log[drop:]}
    return State(
        {name: replace(m, log=m.log[drop:]) for name, m in members.items()},
        {t: replace(term, log=term.log[drop:]) for t, term in whole.items()}
        | {t: Term(active=terms[t].active, winners=terms[t].winners) for t in runs & set(terms) - set(whole)},
    )


def _droppable(logs: Sequence[Log], named: set[int], committed: int) -> int:
    """How many runs all logs begin with, are committed, and have nothing in them that is named or where a log ends."""
    limit = min([committed, *(i - 1 for i in named | {log[-1].last for log in logs} if i > 0)])
    for drop in range(min(map(len, logs), default=1) - 1):
        heads = {(log[drop].term, log[drop].last, log[drop + 1].term) for log in logs}
        if len(heads) > 1 or logs[0][drop].last > limit:
            return drop
    return min(map(len, logs), default=1) - 1
