"""One HTML page about a judged run: verdict and numbers in plain HTML, the diagrams drawn by the page's own script.

What a trace holds goes into the page in two ways only: as text with everything escaped that HTML knows, or within one
block of base64, from which the script makes text again, never markup. The page forbids itself all network, and all
scripts but its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import tempfile
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from errno import EACCES, EISDIR, ENOENT
from html import escape
from pathlib import Path

from trace_check.merge import Engine, Merge
from trace_check.pictures import LARGEST_PICTURE, picture
from trace_check.read import sources_in
from trace_check.replay import Progress, replay
from trace_check.report import headline, took
from trace_check.schema import CLIENT_EVENTS
from trace_check.timeline import KINDS, Place, Timeline
from trace_check.verdict import NUMBERS, BadInput, Result, Violation

TEMPLATE = Path(__file__).with_name("page.html")
SHOWN = 1_000


class Steps:
    """Every step that a view has taken, in the order in which the judge took them."""

    def __init__(self) -> None:
        self.judge: Engine
        self._merge: Merge
        self._names: dict[str, int] = {}
        # Per view: track, seq, instance and action of one step after the other; the latter two as numbers of names.
        self.columns: dict[str, array[int]] = {name: array("i") for name in ("Ballot", "Fencing", "Frontend")}
        self._tracks: dict[tuple[str, str], int] = {}

    def attach(self, judge: Engine, merge: Merge) -> None:
        """To look on while `replay` judges."""
        self.judge, self._merge = judge, merge
        for incarnations in judge.cluster.incarnations.values():
            for source in incarnations.values():
                self._tracks[source.node, source.inc] = len(self._tracks)
        for view in (judge.cluster.ballots.view, judge.cluster.fencing.view, judge.cluster.frontends.view):
            if view is not None:
                view.watch = self._step

    def _step(self, view: str, instance: str, action: str) -> None:
        if view == "Ballot" and ", voters" in instance:
            return  # The picture is that of the electorate there was at first.
        source, number = self._merge.current, self._names
        assert source is not None
        self.columns[view].extend((
            self._tracks[source.node, source.inc],
            source.consumed,
            number.setdefault(instance, len(number)),
            number.setdefault(action, len(number)),
        ))

    @property
    def names(self) -> list[str]:
        """Instances and actions, by their numbers."""
        return list(self._names)

    def judged(self) -> dict[tuple[str, str], int]:
        """How many events of each file were judged."""
        cluster = self.judge.cluster
        return {(node, inc): s.consumed for node, of in cluster.incarnations.items() for inc, s in of.items()}

    def committed(self) -> dict[str, Place]:
        """Where each term's epoch record became known committed, by "term T"."""
        names, found = self.names, {}
        steps = iter(self.columns["Fencing"])
        for track, seq, instance, action in zip(steps, steps, steps, steps, strict=True):
            if names[action] == "CommitEpoch":
                found[names[instance]] = track, seq
        return found


def write(
    directory: Path, output: Path, graphs: Path, allow_gaps: bool = False, progress: Progress | None = None
) -> Result:
    """Judge a directory and write the page about it. Raises BadInput, also when the page cannot be written."""
    place = output if _special(output) else Path(os.path.realpath(output)).parent
    if output.is_dir() or not os.access(place, os.W_OK):  # said before the work, not after it
        why = os.strerror(EISDIR if output.is_dir() else EACCES if place.exists() else ENOENT)
        raise BadInput(f"{output}: cannot be written: {why}; give another file with -o")
    steps = Steps()
    result = replay(directory, graphs=graphs, allow_gaps=allow_gaps, progress=progress, attach=steps.attach)
    judged = steps.judged()
    sources = [s for s in sources_in(directory, allow_gaps=allow_gaps) if (s.node, s.inc) in judged]
    if len(sources) != len(judged):
        raise BadInput(f"{directory}: a file went away while it was read; judge a copy")
    timeline = Timeline(sources)
    text = compose(result, timeline, steps)
    try:
        _replace(output, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise BadInput(f"{output}: cannot be written: {error.strerror}; give another file with -o") from None
    return result


def _replace(output: Path, data: bytes) -> None:
    """A reader finds the old file or the new one, never half of it; a link, a pipe and a device stay what they are."""
    if _special(output):
        output.write_bytes(data)
        return
    output = Path(os.path.realpath(output))
    descriptor, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, output)
    except BaseException:
        os.unlink(name)
        raise


def _special(output: Path) -> bool:
    """Whether it is there and no file: `/dev/stdout`, say."""
    return output.exists() and not output.is_file()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def compose(result: Result, timeline: Timeline, steps: Steps) -> str:
    """The page as text."""
    template = TEMPLATE.read_text(encoding="utf-8")
    script = re.search(r"<script>(.*?)</script>", template, re.S)
    assert script is not None
    cluster = timeline.tracks[0].source.cluster
    parts = {
        "TITLE": escape(f"{result.verdict.name}: {cluster}"),
        "SCRIPT": base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode(),
        "VERDICT": _verdict(result, cluster),
        "NUMBERS": _numbers(result),
        "COVERAGE": _coverage(result),
        "FAILOVERS": _failovers(result),
        "NOTES": _list("Notes", [*result.notes, *timeline.notes]),
        "DATA": _packed(_data(result, timeline, steps)),
    }
    return re.sub(r"@@([A-Z]+)@@", lambda found: parts[found[1]], template)


# --- plain HTML ------------------------------------------------------------------------------------------------------


def _verdict(result: Result, cluster: str) -> str:
    name = result.verdict.name
    sentence = headline(result).removeprefix(name).lstrip(": ")
    about = f"<p class=about>Cluster <b>{escape(cluster)}</b>, traces in <code>{escape(result.directory)}</code></p>"
    head = f'<h1 class="{name}"><span>{name}</span> {escape(sentence)}</h1>'
    detail = _violation(result.violation) if result.violation else ""
    return head + detail + _list("Missing", result.missing) + about


def _violation(violation: Violation) -> str:
    step = violation.step
    rows = [("Circle", member) for member in violation.circle]
    if step is not None:
        rows.append(("View", f"{step.view}, instance {step.instance}: no edge {step.action} from here"))
        rows.append(("State", step.state))
        rows.append(("Legal there", ", ".join(step.legal) or "nothing"))
        rows.append(("How one gets there", ", ".join(step.path) or "it is the initial state"))
        rows += [("Where", f"{model} is {name}") for name, model in step.names]
    return f"<dl>{''.join(f'<dt>{what}</dt><dd>{escape(text)}</dd>' for what, text in rows)}</dl>" if rows else ""


def _list(title: str, items: Sequence[str]) -> str:
    if not items:
        return ""
    shown = [f"<li>{escape(item)}</li>" for item in items[:SHOWN]]
    more = f"<li>and {len(items) - SHOWN:,} more</li>" if len(items) > SHOWN else ""
    return f"<h2>{title}</h2><ul>{''.join(shown)}{more}</ul>"


def _numbers(result: Result) -> str:
    numbers = [(name.replace("_", " "), f"{getattr(result.counts, name):,}") for name in NUMBERS]
    return "".join(f"<div><b>{number}</b> {name}</div>" for name, number in numbers)


def _coverage(result: Result) -> str:
    rows = []
    for view in result.coverage:
        share = f"{view.taken:,} ({100 * view.taken // view.edges} %)" if view.edges else "not judged"
        cells = (view.view, f"{view.instances:,}", view.graph, f"{view.states:,}", f"{view.edges:,}", share)
        rows.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    return "".join(rows)


def _failovers(result: Result) -> str:
    rows = []
    for f in result.failovers[:SHOWN]:
        cells = (f"term {f.from_term}", f.from_node, f"term {f.to_term}", f.to_node, took(f))
        rows.append(f'<tr data-term="{f.to_term}">{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>')
    if len(result.failovers) > SHOWN:
        rows.append(f"<tr><td colspan=5>and {len(result.failovers) - SHOWN:,} more</td></tr>")
    return "".join(rows) or "<tr><td colspan=5>none</td></tr>"


# --- what the script draws from --------------------------------------------------------------------------------------


def _data(result: Result, timeline: Timeline, steps: Steps) -> Iterator[str]:
    """One JSON object, in pieces. The script of page.html says how it reads each field."""
    cluster = steps.judge.cluster
    views = [cluster.ballots.view, cluster.fencing.view, cluster.frontends.view]
    violation = result.violation
    where = violation.where if violation else None
    judged, committed = steps.judged(), steps.committed()
    began = min((track.times[0] for track in timeline.tracks if track.times), default=0)
    head = {
        "kinds": list(KINDS),
        "clientKinds": list(CLIENT_EVENTS),
        "terms": [str(term) for term in timeline.terms],
        "began": str(began),
        "voters": cluster.founding.voters,
        "names": steps.names,
        "steps": {view: column.tolist() for view, column in steps.columns.items()},
        "graphs": {v.name: picture(v.graph, v.taken) for v in views if v and len(v.graph.states) <= LARGEST_PICTURE},
        "silent": [[*event, *earlier] for event, earlier in timeline.silent],
        "epochs": [[epoch, str(term), node, committed.get(f"term {term}")] for epoch, term, node in timeline.epochs],
        "strangers": list(timeline.numbers)[len(timeline.tracks) :],
        "refused": asdict(violation.step) if violation and violation.step else None,
        "where": [timeline.numbers[where.node, where.inc], where.seq] if where else None,
        "order": list(timeline.order()),
    }
    yield json.dumps(head, separators=(",", ":"))[:-1] + ',"tracks":['
    for track in timeline.tracks:
        source = track.source
        column = {
            "node": source.node,
            "inc": source.inc,
            "parts": [[part.first, str(part.path)] for part in source.parts],
            "client": source.client,
            "judged": judged[source.node, source.inc],
            "kinds": track.kinds.tolist(),
            "terms": track.terms.tolist(),
            "times": _differences(track.times, began),
            "counts": track.counts.tolist(),
            "heard": track.heard.tolist(),
            "own": track.own.decode(),
        }
        yield ("," if track.number else "") + json.dumps(column, separators=(",", ":"))
    yield "]}"


def _differences(times: array[int], began: int) -> list[int]:
    """Each time as what it is after the one before it; small numbers pack well."""
    return [now - before for now, before in zip(times, (began, *times), strict=False)]


def _packed(pieces: Iterator[str]) -> str:
    packer = zlib.compressobj()
    return base64.b64encode(b"".join([packer.compress(piece.encode()) for piece in pieces] + [packer.flush()])).decode()
