"""Cuts a trace down to the smallest piece that is still refused: same rule, same event, same reason.

Events are left out, and nothing else is invented. What is left keeps its order of happens-before: whoever comes after
a removed event has heard what that one had heard, and takes up its entries if it was an Append or a Commit (as if the
node had written one larger batch). An event stays as long as one that cites it stays.

First a guess at what the refused event stands on, completed by a search for what the guess left out; then every run
of events that is left, halving the runs down to single events, until none can be spared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trace_check.explaining.needs import Needs
from trace_check.explaining.piece import (
    Key,
    Piece,
    Replayed,
    Trials,
    age,
    causal_order,
    cites,
    events_of,
    first_read,
    key,
    likeness,
    load,
    merged_after,
    reached,
    run,
    size,
    texts,
)
from trace_check.graphs import Graphs
from trace_check.replay import DEFAULT_GRAPHS
from trace_check.schema import Event, Reference
from trace_check.verdict import BadInput, Result, Verdict

Progress = Callable[[str], None]
# Work is bounded by events judged, not by time, so that the same trace always gives the same piece.
MOST_EVENTS = 10_000_000


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest piece found, of how much. `minimal`: no event and no file of it can be left out.

    `support` is a larger one, with what the refused event would stand on if it were not refused.
    """

    piece: Piece
    support: Piece
    events_before: int
    tried: int
    minimal: bool

    @property
    def keys(self) -> frozenset[Key]:
        """The events that are left."""
        return frozenset(key(e) for e in events_of(self.piece))


def select(piece: Piece, keep: set[Key], order: Sequence[Event] | None = None) -> Piece:
    """A piece without some of its events. `order`: the events in causal order, to save finding it."""
    heard = _heard(causal_order(piece) if order is None else order, keep)
    found: Piece = {}
    for file, events in piece.items():
        kept: list[Event] = []
        # The Appends and the Commits that were left out since the last one that was not.
        left_out: dict[str, list[Event]] = {"Append": [], "Commit": []}
        for event in events:
            at = key(event)
            if at not in keep:
                if event["event"] in left_out:
                    left_out[event["event"]].append(event)
                continue
            if at in heard:
                event = {**event, "after": heard[at]}
            if pending := left_out.get(event["event"]):
                event = _taken_up(pending, event)
                pending.clear()
            kept.append(event)
        if kept:
            found[file] = kept
    return found


def _heard(order: Sequence[Event], keep: set[Key]) -> dict[Key, list[Reference]]:
    """What events that stay have to name in `after` so that they still come after all they came after.

    A removed event hands on, to whoever comes after it, the newest events before it that stay, one of each node.
    """
    handed_on: dict[Key, dict[str, Reference]] = {}
    previous: dict[str, Key] = {}
    found: dict[Key, list[Reference]] = {}
    for event in order:
        at = key(event)
        node = at[0]
        named: list[Reference] = list(event.get("after", ()))
        stays = at in keep
        before = previous.get(node)
        changed = before is not None and before not in keep
        references = [*named, *([list(before)] if before is not None and (changed or not stays) else ())]
        if not stays or changed or any(tuple(r) not in keep for r in named):
            newest = merged_after(
                r for n in references for r in ([n] if tuple(n) in keep else handed_on.get(tuple(n), {}).values())
            )
            if stays:
                found[at] = [r for r in newest if r[0] != node or r in named]
            else:
                handed_on[at] = {r[0]: r for r in newest}
        previous[node] = at
    return found


def _taken_up(pending: Sequence[Event], event: Event) -> Event:
    """An Append or a Commit that does the work of those before it as well."""
    if event["event"] == "Append":
        mine = [p for p in pending if p["term"] == event["term"]]
        opening = mine[0] if mine else event
        return {**event, **{field: opening[field] for field in ("first", "epoch") if field in opening}}
    runs: list[list[int]] = []
    epochs: list[list[int]] = []
    for commit in (*pending, event):
        for first, last, term in commit["runs"]:
            if runs and runs[-1][2] == term and runs[-1][1] + 1 == first:
                runs[-1] = [runs[-1][0], last, term]
            else:
                runs.append([first, last, term])
        epochs += commit.get("epochs", [])
    return {**event, "runs": runs, **({"epochs": epochs} if epochs else {})}


class Shrinker:
    """Looks for a smaller piece that is refused like the first one."""

    def __init__(self, piece: Piece, replayed: Replayed, trials: Trials, progress: Progress) -> None:
        violation = replayed.result.violation
        assert violation is not None
        self._piece = piece
        self._trials = trials
        self._progress = progress
        where = violation.where
        self._refused = key(first_read(where, piece)) if where else None
        self._wanted = likeness(violation, self._refused)
        self._needs = Needs(piece)
        self._missing = set(replayed.judge.missing())
        self._order = causal_order(piece)
        self._events = {key(e): e for e in self._order}
        self._starts = {file: key(events[0]) for file, events in piece.items()}

    def refuses(self, keep: set[Key]) -> bool:
        """Whether a smaller piece is refused in the same way, with nothing missing that was there."""
        smaller = select(self._piece, keep, self._order)
        try:
            replayed = self._trials.judge(smaller)
        except BadInput:
            return False
        violation = replayed.result.violation
        if violation is None or not self._missing.issuperset(replayed.result.missing):
            return False
        refused = key(first_read(violation.where, smaller)) if violation.where else None
        return likeness(violation, refused) == self._wanted

    def closed(self, keep: Iterable[Key]) -> set[Key]:
        """With everything that is cited, and each file's first event."""
        found: set[Key] = set()
        todo = list(keep)
        while todo:
            event = self._events.get(at := todo.pop())
            if event is None or at in found:
                continue
            found.add(at)
            todo.append(self._starts[at[:2]])
            todo += cites(event)
        return found

    def guess(self) -> set[Key]:
        """What the refused event stands on, completed until it is refused again.

        Each round looks for the shortest end of the run that, added to what is known to be needed, suffices; its first
        event is needed, then.
        """
        order = [key(e) for e in self._order]
        needed = self._one_file_each()
        if self._refused:
            needed.add(self._refused)
        reach = len(order)
        while self._left():
            if self.refuses(kept := self._needs.closed(needed)):
                return kept

            def suffices(count: int, needed: set[Key] = needed) -> bool:
                return self.refuses(self._needs.closed({*needed, *order[len(order) - count :]}))

            known, count = 0, 1
            while count < reach and not suffices(count):
                known, count = count, 2 * count
            count = min(count, reach)
            while count - known > 1:
                middle = (known + count) // 2
                known, count = (known, middle) if suffices(middle) else (middle, count)
            if count == reach and not suffices(count):
                break
            needed.add(order[len(order) - count])
            reach = count - 1
            self._progress(f"{len(self._events):,} events, {len(needed)} known to be needed")
        return set(self._events)

    def _one_file_each(self) -> set[Key]:
        """The first event of each node: a node without a file would be missing."""
        first: dict[str, Key] = {}
        for file in sorted(self._starts, key=age):
            if self._events[self._starts[file]]["event"] == "Start":
                first.setdefault(file[0], self._starts[file])
        return set(first.values())

    def smallest(self, keep: set[Key]) -> tuple[set[Key], bool]:
        """The keys that are left of those given, and whether none of them can be spared."""
        self._narrow(keep)
        run_length = max(1, len(keep) // 2)
        while True:
            before = len(keep)
            for runs in (self._files(keep), self._runs(run_length)):
                for some in runs:
                    if not self._left():
                        return keep, False
                    smaller = self.closed(keep - some | ({self._refused} if self._refused else set()))
                    smaller &= keep
                    if len(smaller) < len(keep) and self.refuses(smaller):
                        keep = smaller
                        self._narrow(keep)
            self._progress(f"{len(keep):,} events left, runs of {run_length:,} tried")
            if run_length == 1 and len(keep) == before:
                return keep, True
            run_length = max(1, run_length // 2)

    def _narrow(self, keep: set[Key]) -> None:
        """Go on from a smaller piece."""
        self._piece = select(self._piece, keep, self._order)
        self._order = causal_order(self._piece)

    def _files(self, keep: set[Key]) -> list[set[Key]]:
        files: dict[tuple[str, str], set[Key]] = {}
        for at in sorted(keep):
            files.setdefault(at[:2], set()).add(at)
        return list(files.values())

    def _runs(self, length: int) -> list[set[Key]]:
        order = [k for e in self._order if (k := key(e)) != self._refused]
        return [set(order[max(0, end - length) : end]) for end in range(len(order), 0, -length)]

    def _left(self) -> bool:
        return self._trials.events < MOST_EVENTS


def shrink_replayed(
    directory: Path, replayed: Replayed, trials: Trials, progress: Progress, *, allow_gaps: bool = False
) -> Shrunk | None:
    """The smallest piece of a trace that was refused. None when not even all that was read is refused again."""
    for cuts in (reached(replayed), None):
        piece = load(directory, cuts, allow_gaps=allow_gaps)
        shrinker = Shrinker(piece, replayed, trials, progress)
        if shrinker.refuses({key(e) for e in events_of(piece)}):
            guess = shrinker.guess()
            support = select(piece, guess)
            keep, minimal = shrinker.smallest(guess)
            return Shrunk(select(piece, keep), support, size(piece), trials.pieces, minimal)
    return None


def shrink(
    directory: Path | str,
    out: Path | str,
    *,
    graphs: Path | str | None = None,
    allow_gaps: bool = False,
    progress: Progress = lambda _: None,
) -> tuple[Result, Shrunk | None]:
    """Write the smallest piece of a trace that is refused as the whole is.

    Returns the verdict on the whole and the piece, which is None, with nothing written, unless the verdict is a
    violation. Raises BadInput, also when `out` is not empty.
    """
    out, directory = Path(out), Path(directory)
    try:
        taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise BadInput(f"{out}: cannot be written: {error.strerror}; name another directory") from None
    if taken:
        raise BadInput(f"{out}: not an empty directory; name a new one for the smaller trace")
    loaded = Graphs(Path(graphs) if graphs else DEFAULT_GRAPHS)
    replayed = run(directory, loaded, allow_gaps=allow_gaps)
    if replayed.result.verdict is not Verdict.VIOLATION:
        return replayed.result, None
    with tempfile.TemporaryDirectory(prefix="trace-check-") as scratch:
        shrunk = shrink_replayed(directory, replayed, Trials(loaded, Path(scratch)), progress, allow_gaps=allow_gaps)
    if shrunk is None:
        raise BadInput(f"{directory}: is refused otherwise when it is read again; has it changed meanwhile?")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts(shrunk.piece, origin=True).items():
            (out / name).write_text(text)
    except OSError as error:
        raise BadInput(f"{out}: cannot be written: {error.strerror}; name another directory") from None
    return replayed.result, shrunk


def as_text(shrunk: Shrunk, out: Path) -> str:
    """One line about what was written."""
    return (
        f"{out}: {size(shrunk.piece):,} of the {shrunk.events_before:,} events read, in {len(shrunk.piece)} files, are "
        f"refused in the same way ({shrunk.tried:,} pieces judged"
        + (")." if shrunk.minimal else "; stopped early, a smaller one may exist).")
    )
