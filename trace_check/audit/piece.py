"""One piece of a trace in the small numbers of spec/Recorded.tla, and the state of the protocol between two pieces.

A state of HACoordination holds every log entry by entry and something for every term there has been. What the next
piece can ask about is little of that, so a piece gets numbers of its own:

- Terms. Only their order matters to the protocol. Those of a piece are those that its events name, those that nodes are
  in, the one whose leader knows most to be committed, and those of the entries that are left; they become 1, 2, 3, ...
  Of the others nothing can change in this piece: they are kept for later ones, as long as a node may come back in them.
- Indexes. Only comparisons matter, with those that an event names, where a log or a pointer ends, or where two logs
  part: the cuts. What lies between two cuts is one entry: whoever has its last entry has all of it, so the protocol
  treats it as one. Where the entries of a term begin is a cut too, unless that is committed and the same in all logs
  that come so far. So most of what has happened while a node was down is one entry, an epoch record of the last term.
- Epochs. Records that have become one with the one before are not counted. None of them bears an epoch that an event
  names, or that somebody could come to use next.

Pointers (acknowledged, committed, asked with) are rounded down to a cut. They are only ever compared with cuts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from itertools import pairwise
from typing import Any

from trace_check.audit.state import Log, Member, Run, State, Step, Term
from trace_check.audit.tlc import literal

MANY = 1_000_000


class Piece:
    """Numbers for some steps from some state on."""

    def __init__(self, state: State, steps: Sequence[Step]) -> None:
        self.state = state
        self.names = {name: f"n{at}" for at, name in enumerate(sorted(state.members), 1)}
        self._real = {short: name for name, short in self.names.items()}
        members, terms = state.members.values(), state.terms
        furthest = max(terms, key=lambda t: terms[t].commit, default=0)
        self._whole = {t for m in members for t in (m.term, m.shown)} | {s.term for s in steps} | {furthest}
        self._whole |= _recoverable(state, steps)
        whole = [terms[t] for t in self._whole & set(terms)]
        logs = list({log for log in (*(m.log for m in members), *(t.log for t in whole)) if log})
        asked = [position for t in whole for position in t.request.values()]
        chain = terms[furthest].log if furthest else ()
        settled = _settled(chain, terms[furthest].commit if furthest else 0, logs, {s.epoch for s in steps})
        cuts = {i for s in steps for i in s.indexes()} | {t.commit for t in whole} | {i + 1 for i, _ in asked}
        cuts |= {log[-1].last for log in logs}
        cuts |= {i for log in logs for a, b in pairwise(log) if b.term not in settled for i in (a.last, a.last + 1)}
        self._cuts = sorted(i for i in cuts if i > 0)
        self._before = min((log[0].epoch for log in logs), default=1) - 1
        # By index, the epochs of the records that are known there.
        self._epochs: dict[int, set[int]] = {1: {log[0].epoch for log in logs}}
        for a, b in (pair for log in logs for pair in pairwise(log)):
            self._epochs.setdefault(a.last + 1, set()).add(b.epoch)
        firsts = [1, *(run.last + 1 for run in chain[:-1])]
        pairs = zip(pairwise(map(self._interval, firsts)), chain[1:], strict=True)
        self._uncounted = [run.epoch for (a, b), run in pairs if a == b]
        # What a log holds up to the end of an interval, where its entries do not say all of it.
        self._pasts: dict[tuple[int, int], Log] = {}
        seen = {run.term for log in logs for run, _ in self._seen(log)}
        wanted = self._whole | seen | {s.last_term for s in steps} | {t for _, t in asked}
        self._terms = sorted(wanted - {0})
        self._logs = {t: self._up_to(t, logs) for t in seen} | {t: terms[t].log for t in self._whole & set(terms)}
        self._groups = self._places(logs, steps)
        self.origin: list[Step] = []
        self._records = self._expand(steps)

    # --- into small numbers --------------------------------------------------------------------------------------

    def term(self, term: int) -> int:
        """Small number of a term."""
        return bisect_right(self._terms, term)

    def index(self, index: int) -> int:
        """Small number of an index."""
        return bisect_right(self._cuts, index)

    def _interval(self, index: int) -> int:
        """Which entry, from 0 on, an index is part of."""
        return bisect_left(self._cuts, index)

    def _epoch(self, epoch: int) -> int:
        return max(-1, min(epoch - self._before - bisect_right(self._uncounted, epoch), MANY))

    def config(self) -> dict[str, object]:
        """Node and Term."""
        return {"Node": set(self.names.values()), "Term": set(range(1, len(self._terms) + 1)) or {1}}

    def module(self) -> str:
        """A module that defines TheSteps, TheBegin and TheConfigs."""
        steps = ",\n  ".join(literal(record) for record in self._records)
        definitions = (
            f"TheSteps == <<\n  {steps}>>\nTheBegin ==\n  {self._begin()}\nTheConfigs ==\n  {literal(self._groups)}"
        )
        return f"---- MODULE Piece ----\nEXTENDS Recorded\n{definitions}\n====\n"

    def _begin(self) -> str:
        members = {short: self.state.members[name] for short, name in self._real.items()}
        known = [self.state.terms.get(t, Term()) if t in self._logs else Term() for t in self._terms or [1]]
        terms = [term if t in self._whole else Term() for t, term in zip(self._terms or [1], known, strict=True)]

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
                "leaderLog": [self._entries(self._logs.get(t, ())) for t in self._terms or [1]],
                "acked": [per_node(a, 0) for a in acked],
                "commit": [self.index(t.commit) for t in terms],
                "active": {at for at, t in enumerate(known, 1) if t.active},
                "winners": [{self.names[n] for n in t.winners} for t in known],
                "vote": [per_node(v, None) for v in vote],
                "request": [per_node(r, (0, 0)) for r in request],
            }
        )

    def _seen(self, log: Log) -> list[tuple[Run, bool]]:
        """A log by intervals, at the end of one of which it ends: whose entry is the last, and if a record is there."""
        entries: list[tuple[Run, bool]] = []
        first = 1
        for at, run in enumerate(log):
            begins, ends = self._interval(first), self._interval(run.last)
            if begins < len(entries):
                del entries[begins:]
                end = self._cuts[begins]
                self._pasts[begins, run.term] = (*log[:at], replace(run, last=min(run.last, end)))
            entries += [(run, True), *[(run, False)] * (ends - begins)]
            first = run.last + 1
        return entries

    def _entries(self, log: Log) -> list[dict[str, object]]:
        return [
            {
                "term": self.term(run.term),
                "epoch": self._epoch(run.epoch) if is_record else 0,
                "owner": self.names[run.owner] if is_record else None,
            }
            for run, is_record in self._seen(log)
        ]

    def _up_to(self, term: int, logs: Sequence[Log]) -> Log:
        """What is seen of the log of a term's leader in others' logs."""
        found: Log = ()
        for log in logs:
            at = next((i for i, run in enumerate(log) if run.term == term), None)
            if at is not None and (not found or found[-1].last < log[at].last):
                found = log[: at + 1]
        # Entries of the term beyond the last cut are one with those of a later term.
        return (*found[:-1], replace(found[-1], last=self._cuts[self.index(found[-1].last) - 1]))

    def _places(self, logs: Sequence[Log], steps: Sequence[Step]) -> list[dict[str, object]]:
        """The configurations, each where a log has it; of several in one interval the last."""
        found: dict[tuple[int, int], tuple[int, object]] = {}
        for (index, term), group in self.state.groups.items():
            at, label = self._interval(index), 0
            holds = [log for log in logs if any(b.term == term and a < index <= b.last for a, b in _firsts(log))]
            if holds:
                label = self._seen(holds[0])[at][0].term
            elif any(s.action == "Change" and (s.last, s.term) == (index, term) for s in steps):
                label = term
            elif index:
                continue
            place = (at + 1, self.term(label)) if index else (0, 0)
            if index >= found.get(place, (0, None))[0]:
                members = {(self.names[name], part, address) for name, part, address in group.members}
                own = {"k": place[0], "kt": place[1], "voters": self._short(group.voters), "members": members}
                own["open"] = group.open
                found[place] = index, own
        return [own for _, own in found.values()]  # type: ignore[misc]

    # --- steps ---------------------------------------------------------------------------------------------------

    def _expand(self, steps: Iterable[Step]) -> list[dict[str, object]]:
        """One record for each entry that an Append adds or a Commit covers, and one for each other step."""
        records: list[dict[str, object]] = []
        pointers = {t: self.index(term.commit) for t, term in self.state.terms.items()}
        for step in steps:
            k = self.index(step.last)
            record = {"a": step.action, "n": self.names[step.node], "t": self.term(step.term), "k": k}
            record |= {"kt": self.term(step.last_term), "told": step.told}
            before = len(records)
            match step.action:
                case "Append" | "Change":
                    first = self.index(step.first - 1) + 1
                    added = [record | {"k": i} for i in range(first, k + 1)] or [record | {"k": 0}]
                    if step.epoch is not None:
                        added[0] |= {"a": "Open", "e": self._epoch(step.epoch)}
                    records += added
                case "Commit":
                    times = max(1, k - pointers.get(step.term, 0))
                    pointers[step.term] = max(k, pointers.get(step.term, 0))
                    counted = {"by": self._known(step.by), "vs": self._short(step.named)}
                    records += [record | counted | {"epochs": self._named(step)}] * times
                case "Learn":
                    records.append(record | {"epochs": self._named(step)})
                case "Ack":
                    records.append(record | {"i": self.index(step.first - 1) + 1})
                case "Win" | "Install":
                    records.append(record | {"by": self._known(step.by), "vs": self._short(step.named)})
                case "Campaign":
                    records.append(record | {"vs": self._short(step.named)})
                case "Activate":
                    records.append(record | {"e": self._epoch(step.epoch or 0)})
                case "Grant" | "Vote":
                    # Nobody grants a vote to himself, so that is never taken.
                    records.append(record | {"c": self.names.get(step.other or "", self.names[step.node])})
                case "Start":
                    (vote,) = self._short([step.other]) if step.other else (None,)
                    records.append(record | {"v": vote, "vs": self._short(step.named)})
                case "Transfer":
                    records.append(record | {"to": step.other})
                case _:
                    records.append(record)
            self.origin += [step] * (len(records) - before)
        # The invariants are asked for where elections and commitments have just changed; that they follow is TLC's
        # affair in `make check`, and to ask before every step takes longer than the steps.
        taken = ["", *(record["a"] for record in records[:-1])]
        return [r | {"inv": a in ("", "Win", "Commit", "Start")} for r, a in zip(records, taken, strict=True)]

    def _named(self, step: Step) -> set[tuple[int, int]]:
        """The epochs that a Commit names. Of records that are not seen, only whether they are wrong: then -1 is."""
        named: set[tuple[int, int]] = set()
        for index, epoch in step.epochs:
            at = self.index(index)
            if at and self._cuts[at - 1] == index and (index == 1 or self._cuts[at - 2 : at - 1] == [index - 1]):
                named.add((at, self._epoch(epoch)))
            elif epoch not in self._epochs.get(index, ()):
                named.add((max(at, 1), -1))
        return named

    def _short(self, names: Iterable[str]) -> set[str]:
        return {self.names.get(name, "a stranger") for name in names}

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
        terms = dict(self.state.terms)
        terms |= {t: self._term(t, at, value) for at, t in enumerate(self._terms) if t in self._whole}
        oldest, furthest = min(m.term for m in members.values()), max(t.commit for t in terms.values()) if terms else 0
        for t, term in terms.items():
            # No node comes back to an earlier term: to vote or to store in it.
            if t < oldest and term.commit < furthest:
                terms[t] = Term(active=term.active, winners=term.winners)
        return State(members, terms, self.state.groups)

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
            term = self._back(self._terms, entry["term"])
            if (at, term) in self._pasts:
                runs = list(self._pasts[at, term])
            elif entry["epoch"]:
                epoch = runs[-1].epoch + 1 if runs else self._before + 1
                runs.append(Run(term, epoch, self._real[entry["owner"]], self._cuts[at]))
            else:
                runs[-1] = replace(runs[-1], last=self._cuts[at])
        return tuple(runs)


def _firsts(log: Log) -> Iterable[tuple[int, Run]]:
    """The runs of a log, each with the index before it."""
    return zip((0, *(run.last for run in log)), log, strict=False)


def _settled(chain: Log, committed: int, logs: Sequence[Log], named: Set[int | None]) -> set[int]:
    """The terms whose record is committed and need not be told from what comes before it."""
    ends = [({run.term for run in log}, log[-1].epoch) for log in logs]
    return {
        run.term
        for before, run in pairwise(chain)
        if before.last < committed
        and run.epoch not in named
        and run.epoch - 1 not in named
        # A log without it has no such epoch, and its owner, as a leader, does not come to use it next.
        and all(run.term in terms or epoch + 1 < run.epoch for terms, epoch in ends)
    }


def _recoverable(state: State, steps: Sequence[Step]) -> set[int]:
    """The terms whose leader a node may have heard of before it was killed, if its log shows that it did."""
    found: set[int] = set()
    ends = {name: (m.log[-1].last, m.log[-1].term) if m.log else (0, 0) for name, m in state.members.items()}
    since = {name: m.term for name, m in state.members.items()}
    for step in steps:
        name, end = step.node, (step.last, step.last_term)
        if step.action == "Recover" and end != ends[name]:
            found |= {t for t in state.terms if since[name] <= t <= step.term}
        if step.action == "Install":
            ends[name] = (-1, -1)  # what follows the image may have been kept
        if step.action in ("Start", "Store", "Campaign", "Grant"):
            ends[name] = end
        if step.action in ("Store", "Campaign", "Grant", "Win"):
            since[name] = max(since[name], step.term)
    return found
