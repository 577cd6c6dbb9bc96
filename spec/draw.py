"""Draws the small state graphs for the book: docs/pictures/*.svg from TLC's dumps in graphs/.

    python spec/draw.py

Nothing is drawn by hand: nodes and edges are those of the dump, only the labels are shortened. The layout is made by
Graphviz, so its `dot` must be installed; readers need neither, the pictures are committed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

SPEC = Path(__file__).resolve().parent
PICTURES = SPEC.parent / "docs" / "pictures"

NODE = re.compile(r'^(-?\d+) \[label="((?:[^"\\]|\\.)*)"(,style = filled)?')
EDGE = re.compile(r'^(-?\d+) -> (-?\d+) \[label="((?:[^"\\]|\\.)*)"')

# What a leader believes, in the colours of the picture: nothing yet, waiting, active, gone.
BELIEF = {"none": "white", "claiming": "#fff2b3", "leading": "#b7e1b0", "gaveup": "#dddddd", "left": "#dddddd"}
TYPES = {"DOWN": "#eeeeee", "LEADER": "#b7e1b0"}


def read(name: str) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """States by id, as TLC prints them, and edges (from, to, action)."""
    states: dict[str, str] = {}
    edges: set[tuple[str, str, str]] = set()
    for line in (SPEC / "graphs" / f"{name}.dot").read_text().splitlines():
        text = line.replace("\\n", " ").replace("\\\\", "\\").replace('\\"', "'")
        if found := EDGE.match(text):
            edges.add((found[1], found[2], found[3].replace("'", "")))
        elif found := NODE.match(text):
            states[found[1]] = found[2]
    return states, sorted(edges)


def ballot(state: str) -> tuple[str, str]:
    """Who voted for whom, and who won."""
    votes = re.findall(r"n(\d) :> (\w+)", state) or re.findall(r"n(\d) \|-> (\w+)", state)
    winners = re.search(r"\{(.*?)\}", state)
    won = winners[1] if winners else ""
    shown = " ".join(f"{voter}→{choice.strip('n')}" for voter, choice in votes if choice.startswith("n"))
    return f"{shown or 'no votes'}" + (f"\\n{won} won" if won else ""), "#b7e1b0" if won else "white"


def fencing(state: str) -> tuple[str, str]:
    """What each leader believes; a bar where its record is committed; the bit as a star."""
    believed = dict(re.findall(r"(lo|hi) \|-> '(\w+)'", state))
    committed = dict(re.findall(r"(lo|hi) \|-> (TRUE|FALSE)", state))
    prime = " *" if state.endswith("bit = TRUE") else ""
    lines = [f"{x} {believed[x]}{' ▮' if committed[x] == 'TRUE' else ''}" for x in ("lo", "hi")]
    return "\\n".join(lines) + prime, f"{BELIEF[believed['lo']]};0.5:{BELIEF[believed['hi']]}"


def frontend(state: str) -> tuple[str, str]:
    """Type, Raft role, fence."""
    values = dict(re.findall(r"(\w+) = '?(\w+)'?", state))
    role = "leads" if values["role"] == "leader" else ""
    fence = "fenced" if values["fenced"] == "TRUE" else ""
    below = ", ".join(x for x in (role, fence) if x)
    return values["type"] + (f"\\n{below}" if below else ""), TYPES.get(values["type"], "white")


def picture(name: str, label: Callable[[str], tuple[str, str]]) -> Iterator[str]:
    """The graph in Graphviz's language; actions that share their ends share an edge."""
    states, edges = read(name)
    yield f"digraph {name} {{"
    yield '  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=11, margin="0.08,0.04"];'
    yield '  edge [fontname="Helvetica", fontsize=9, color="#666666", fontcolor="#333333", arrowsize=0.6];'
    for state, text in states.items():
        shown, colour = label(text)
        yield f'  "{state}" [label="{shown}", fillcolor="{colour}"];'
    actions: dict[tuple[str, str], list[str]] = defaultdict(list)
    for source, target, action in edges:
        actions[source, target].append(action)
    for (source, target), names in actions.items():
        yield f'  "{source}" -> "{target}" [label="{", ".join(names)}"];'
    yield "}"


def main() -> int:
    dot = shutil.which("dot")
    if dot is None:
        print("draw.py: Graphviz is needed to lay the pictures out: install its command `dot`", file=sys.stderr)
        return 2
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, label in (("Ballot2", ballot), ("Ballot3", ballot), ("Fencing", fencing), ("Frontend", frontend)):
        target = PICTURES / f"{name}.svg"
        text = "\n".join(picture(name, label))
        drawn = subprocess.run([dot, "-Tsvg"], input=text, capture_output=True, text=True, check=True).stdout
        # Graphviz names its version and a title in comments: the picture should change only when the graph does.
        target.write_text(re.sub(r"<!--.*?-->\n?", "", drawn, flags=re.S))
        print(target.relative_to(SPEC.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
