"""Behaviours of Membership.tla in the words of HACoordination.tla, for exporter.py to write down as traces.

The two modules describe the same nodes, but Membership leaves out what is not about the group. What it leaves out is
done here at the first moment at which it can be:

- Nodes run: those of the founding group from the beginning, others before their first step.
- A leader becomes LEADER once its epoch record is committed. A LEADER that goes on to a later term has ended before,
  and started again; a leader that was not LEADER yet loses its term.
- Restart is a Crash and a Start. AddLearner and all other changes of the group are an Append of a configuration.
- The entry by which the group was set up is not in any log: indexes are one less. `founders` is what it says, `blank`
  are the nodes that have not even that.
- Epochs are counted along the log.
- Images (Snapshot.tla) are those of HACoordination's nodes, if it had any: Install is a step of who takes one over.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise

from exporter import Behaviour, Entry, State

# The name of a step of HACoordination, its parameters, and the state it leads to.
Step = tuple[str, list[str], State]
SHARED = ("Campaign", "Grant", "Win", "Store", "Commit", "Image", "Install")


def as_protocol(behaviour: Behaviour) -> Behaviour:
    """The same behaviour with every step a step of HACoordination."""
    translation = Translation(behaviour.states[0])
    for (action, parameters), (before, after) in zip(behaviour.steps, pairwise(behaviour.states), strict=True):
        for name, names, state in translation.steps(action, parameters, before, after):
            translation.steps_taken.append((name, names))
            translation.states.append(state)
    return Behaviour(behaviour.violates, translation.states, translation.steps_taken, behaviour.length)


class Translation:
    """What Membership does not say of its nodes: the type and the role of each, as of the newest state."""

    def __init__(self, first: State) -> None:
        nodes = list(first["term"])
        founding = first["log"][nodes[0]] or next(log for log in first["log"].values() if log)
        self.founders = members(founding[0])
        self._type = {n: "INIT" if first["log"][n] else "DOWN" for n in nodes}
        self._role = dict.fromkeys(nodes, "follower")
        self.states = [self._state(first)]
        self.steps_taken: list[tuple[str, list[str]]] = []

    def _state(self, now: State) -> State:
        """A state of Membership with what it leaves out."""
        logs = {n: entries(log) for n, log in now["log"].items()}
        leaders = [entries(log) for log in now["leaderLog"]]
        commit = [max(0, index - 1) for index in now["commit"]]
        images = {n: entries(log) for n, log in now.get("image", {}).items()}
        return {
            "term": dict(now["term"]),
            "log": logs,
            "type": dict(self._type),
            "role": dict(self._role),
            "leaderLog": leaders,
            "acked": [{n: max(0, index - 1) for n, index in acked.items()} for acked in now["acked"]],
            "commit": commit,
            "vote": copy.deepcopy(now["vote"]),
            "reach": commit,
            "acks": {n: [] for n in logs},
            "founders": self.founders,
            "image": {n: len(image) for n, image in images.items()},
            "blank": [n for n, log in now["log"].items() if not log],
        }

    def steps(self, action: str, names: list[str], before: State, after: State) -> Iterator[Step]:
        """The steps that this one stands for, each with the state it leads to."""
        if action == "Install":
            names = names[::-1]
        name = names[0]
        if self._type[name] == "DOWN":
            self._type[name] = "INIT"
            yield "Start", [name], self._state(before)
        if self._role[name] == "leader" and after["term"][name] > before["term"][name]:
            yield from self._leave(name, before)
        if action == "Restart":
            self._type[name], self._role[name] = "DOWN", "follower"
            yield "Crash", [name], self._state(after)
            self._type[name] = "INIT"
            yield "Start", [name], self._state(after)
            return
        if action == "Win":
            self._role[name] = "leader"
        term = after["term"][name]
        names = names if action in ("Grant", "Install") else [name]
        yield (action if action in SHARED else "Append"), names, self._state(after)
        committed = after["leaderLog"][term - 1][: after["commit"][term - 1]] if action == "Commit" else []
        if self._type[name] != "LEADER" and any(entry["term"] == term for entry in committed):
            self._type[name] = "LEADER"
            yield "Activate", [name], self._state(after)

    def _leave(self, name: str, now: State) -> Iterator[Step]:
        self._role[name] = "follower"
        if self._type[name] != "LEADER":
            yield "Lose", [name], self._state(now)
            return
        self._type[name] = "DOWN"
        yield "Exit", [name], self._state(now)
        self._type[name] = "INIT"
        yield "Start", [name], self._state(now)


def members(entry: Entry) -> list[list[str]]:
    """The configuration in an entry, as the trace format has it."""
    return [[n, c["part"], c["address"]] for n, c in sorted(entry["config"].items()) if c["part"] != "none"]


def entries(log: list[Entry]) -> list[Entry]:
    """A log without the founding configuration, its epoch records numbered."""
    found: list[Entry] = []
    epoch = 0
    for entry in log[1:]:
        made: Entry = {"term": entry["term"], "epoch": 0, "owner": entry["kind"]}
        if entry["kind"] == "epoch":
            epoch += 1
            made["epoch"] = epoch
        elif entry["kind"] == "config":
            made["owner"] = made["members"] = members(entry)
        found.append(made)
    return found
