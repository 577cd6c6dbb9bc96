"""Other systems' traces, judged as far as they show what the views and the guards are about (docs/adapters.md).

An adapter reads one system's lines and tells the judge what happened. `replay` has the same Result as for a trace of
one's own, with what could not be checked named in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trace_check.adapters.ccf import NOT_CHECKED as CCF_NOT_CHECKED
from trace_check.adapters.ccf import Ccf
from trace_check.adapters.etcd_raft import NOT_CHECKED as ETCD_RAFT_NOT_CHECKED
from trace_check.adapters.etcd_raft import EtcdRaft
from trace_check.adapters.example import NOT_CHECKED as ELECTIONS_NOT_CHECKED
from trace_check.adapters.example import Elections
from trace_check.adapters.judge import Judge
from trace_check.adapters.members import Group, Incomplete
from trace_check.adapters.records import Record, find, read
from trace_check.graphs import Graphs
from trace_check.verdict import BadInput, Counts, Refused, Result, Verdict, Violation, Where


class Adapter(Protocol):
    """What reads one system's lines."""

    def event(self, line: Record) -> tuple[str, str] | None:
        """What the line calls the event, and its node; None when it is not a line of the trace. Raises BadInput."""

    def judge(self, line: Record) -> None:
        """Tell the judge what the line says. Raises BadInput, Refused, Incomplete."""


@dataclass(frozen=True, slots=True)
class Format:
    """One system's format: who reads it, and what it cannot show."""

    adapter: Callable[[Judge], Adapter]
    not_checked: tuple[str, ...]


FORMATS = {
    "etcd-raft": Format(EtcdRaft, ETCD_RAFT_NOT_CHECKED),
    "ccf": Format(Ccf, CCF_NOT_CHECKED),
    "elections": Format(Elections, ELECTIONS_NOT_CHECKED),
}


def replay(
    path: Path | str,
    form: Format,
    *,
    graphs: Path | str,
    progress: Callable[[int, int, int], None] | None = None,
) -> Result:
    """Judge a trace file in another system's format. Raises BadInput when there is nothing to judge."""
    began = time.monotonic()
    path = find(Path(path))
    total = path.stat().st_size if path.is_file() else 0
    judge = Judge(Graphs(Path(graphs)))
    adapter = form.adapter(judge)
    events, notes, missing = 0, list[str](), list[str]()
    violation: Violation | None = None
    where: Where | None = None
    for number, done, line in read(path, notes):
        named = adapter.event(line)
        if named is None:
            continue
        events += 1
        where = _where(path, number, *named, judge.group)
        try:
            adapter.judge(line)
        except Refused as refused:
            violation = Violation(refused.rule, refused.expected, refused.actual, where, refused.step)
            break
        except Incomplete as error:
            missing.append(f"{error} ({path}:{number}); judged up to there")
            break
        if progress is not None and not events % 1024:
            progress(events, done, total)
    if not events:
        raise BadInput(f"{path}: no event in this format; is it another one?")
    coverage = judge.group.coverage()
    missing += [f"{row.graph}: votes were judged by evidence alone" for row in coverage if not row.edges]
    verdict = Verdict.VIOLATION if violation else Verdict.INCOMPLETE if missing else Verdict.HOLDS
    return Result(
        verdict,
        str(path),
        path.name,
        _counts(events, judge.group),
        coverage,
        (),
        violation,
        tuple(missing),
        tuple(notes),
        time.monotonic() - began,
        form.not_checked,
    )


def _where(path: Path, number: int, event: str, node: str, group: Group) -> Where:
    member = group.members.get(node)
    if member is None:
        return Where(str(path), number, node, "1", 1, event)
    member.lines += 1
    return Where(str(path), number, node, str(member.incarnation), member.lines + 1, event)


def _counts(events: int, group: Group) -> Counts:
    members = group.members.values()
    return Counts(
        files=1,
        nodes=len(members),
        incarnations=sum(m.incarnation for m in members),
        clients=0,
        events=events,
        terms=max((m.term for m in members), default=0),
        leaders=len(group.tree.terms),
        epochs=group.epochs,
        entries_committed=group.tree.committed,
        writes_acknowledged=0,
        writes_lost=0,
        writes_unknown=0,
        writes_failed=0,
    )
