"""Small random histories of clients, right and wrong: the checker finds what comparing all pairs finds."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import pytest
from handmade import Event, Story

from trace_check import Verdict

HISTORIES = 40
CLIENTS = ("c1", "c2", "c3")


class Teller:
    """Tells a history: n1 leads all the time, and clients ask, and are answered from what is old or new by chance."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.story = Story("n1", "n2", "n3")
        self.story.lead("n1", "n2")
        self._open: list[tuple[str, Event]] = []
        self._answers: dict[bool, list[Event]] = {True: [], False: []}
        self._now = 0
        for number in range(30):
            self._now += rng.randint(0, 2)
            rng.choice((self._serve, self._write, self._ask, self._ask, self._answer, self._answer))(number)

    def _at(self) -> Event:
        return {"at": ["machine", self._now]} if self._rng.random() < 0.6 else {}

    def _serve(self, _: int) -> None:
        self._answers[True].append(self.story.serve("n1", "n2"))

    def _write(self, _: int) -> None:
        self.story.replicate("n1", "n2", count=2)
        last = len(self.story.person("n1").log)
        self._answers[False].append(self.story.ack("n1", last - self._rng.randint(0, 1), last))

    def _ask(self, number: int) -> None:
        rng, story, client = self._rng, self.story, self._rng.choice(CLIENTS)
        if not story.person(client).incs or rng.random() < 0.1:
            story.open(client)
            self._open = [(name, asked) for name, asked in self._open if name != client]
        other = rng.choice([name for name in CLIENTS if name != client])
        told = story.files[other, story.person(other).incs[-1]] if story.person(other).incs else []
        if told and rng.random() < 0.3:
            story.person(client).after[other] = story.ref(rng.choice(told))
        own = self._at() | ({"key": rng.choice("kl")} if rng.random() < 0.5 else {})
        kind = {"kind": "read"} if rng.random() < 0.4 else {"idempotency": "w"} if rng.random() < 0.4 else {}
        self._open.append((client, story.invoke(client, f"o{number}", **own, **kind)))

    def _answer(self, _: int) -> None:
        if not self._open:
            return
        rng, story = self._rng, self.story
        client, asked = self._open.pop(rng.randrange(len(self._open)))
        read, op = "kind" in asked, asked["op"]
        if rng.random() < 0.7:
            (self._serve if read else self._write)(0)
        answers = self._answers[read][-rng.choice((1, 1, 4)) :]
        if not answers or rng.random() < 0.3:
            story.tell(client, rng.choice(("Fail", "Unknown")), op=op, error="none", **self._at())
            return
        shown = rng.choice(answers)
        if read:
            own = {"version": rng.choice((0, shown["index"]))} if "key" in asked and rng.random() < 0.4 else {}
            ok = story.saw(client, op, shown, **own, **self._at())
        else:
            ok = story.ok(client, op, shown, rng.randint(shown["first"], shown["last"]), **self._at())
        if rng.random() < 0.8:
            # No later event of the leader is heard of, so that an old answer may come to another operation.
            ok["after"] = [story.ref(shown)]


@dataclass(eq=False)
class Operation:
    """One of a client, by where it stands among all events of the client."""

    client: str
    asked: Event
    number: int
    read: bool
    write: object
    answer: Event | None = None
    answered: int = 0

    @property
    def shows(self) -> int:
        assert self.answer
        return int(self.answer["index"])

    @property
    def saw(self) -> int:
        return self.shows - (not self.read)

    @property
    def wrote(self) -> int:
        """The entry that wrote its key, by what it was told; 0 if it was told of none."""
        assert self.answer
        return int(self.answer.get("version", 0) if self.read else self.shows) if "key" in self.asked else 0


class Oracle:
    """What docs/trace-format.md says of operations, of each pair of them."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._events = {c: [e for inc in story.person(c).incs for e in story.files[c, inc]] for c in CLIENTS}
        self._operations: list[Operation] = []
        for client, events in self._events.items():
            for number, event in enumerate(events):
                if event["event"] == "Invoke":
                    write = event.get("idempotency", event["op"])
                    self._operations.append(Operation(client, event, number, "kind" in event, (client, write)))
                else:
                    mine = [o for o in self._operations if o.client == client and o.asked["op"] == event["op"]]
                    mine[-1].answer, mine[-1].answered = event, number

    def _begun(self, one: Operation) -> Operation:
        """The first try of the same write that was not refused; a read, and what is no try, is one by itself."""
        tries = [o for o in self._operations if o.write == one.write and o.read == one.read]
        return next(o for o in tries if o.answer is None or o.answer["event"] != "Fail")

    def _past(self, client: str, number: int) -> set[tuple[str, int]]:
        """The clients' events that one happens after, and itself."""
        found: set[tuple[str, int]] = set()
        todo = [(client, number)]
        while todo:
            at = todo.pop()
            if at not in found:
                found.add(at)
                name, number = at
                todo += [(name, number - 1)] if number else []
                for node, inc, seq in self._events[name][number].get("after", ()):
                    if node in CLIENTS:
                        told = self._events[node].index(self._story.files[node, inc][seq - 1])
                        todo.append((node, told))
        return found

    def wrong(self) -> set[str]:
        """The rules that are broken."""
        answered = [o for o in self._operations if o.answer and o.answer["event"] == "Ok"]
        found = {rule for one in answered for rule in self._alone(one)}
        for one, other in permutations(answered, 2):
            found.update(self._pair(one, other))
        return found

    def _alone(self, one: Operation) -> list[str]:
        assert one.answer
        *_, seq = one.answer["serve"] if one.read else one.answer["ack"]
        if one.read:
            *_, seq = self._story.files["n1", self._story.person("n1").incs[-1]][seq - 1]["start"]
        begun = self._begun(one)
        heard = [r for e in self._events[one.client][: begun.number + 1] for r in e.get("after", ()) if r[0] == "n1"]
        rules = ["PromiseKept"] if any(r[2] >= seq for r in heard) else []
        return rules + (["NewestVersion"] if one.answer.get("version") == 1 else [])

    def _pair(self, one: Operation, other: Operation) -> list[str]:
        """What is wrong if the one was answered, and the other began."""
        assert one.answer
        assert other.answer
        rules = []
        if not one.read and not other.read and (one.shows == other.shows) != (one.write == other.write):
            rules.append("PromiseKept")
        begun = self._begun(other)
        if other.saw < one.shows:
            if (one.client, one.answered) in self._past(begun.client, begun.number):
                rules.append("SessionOrder")
            if one.answer.get("at", ["", 0])[1] < begun.asked.get("at", ["", 0])[1] and "at" in one.answer:
                rules.append("RealTimeOrder")
        if one.wrote and other.wrote == one.wrote and other.asked["key"] != one.asked["key"]:
            rules.append("NewestVersion")
        if "version" in other.answer and other.asked["key"] == one.asked.get("key"):
            rules += ["NewestVersion"] if other.answer["version"] < one.wrote <= other.shows else []
        return rules


@pytest.mark.parametrize("tens", range(10))
def test_a_small_history_is_refused_if_and_only_if_a_pair_of_operations_is_wrong(tens: int, tmp_path: Path) -> None:
    verdicts = set()
    for seed in range(HISTORIES * tens, HISTORIES * (tens + 1)):
        story = Teller(random.Random(seed)).story
        wrong = Oracle(story).wrong()
        result = story.judge(tmp_path / str(seed), random.Random(seed).randrange)
        verdicts.add(result.verdict)
        assert (result.verdict is Verdict.VIOLATION) == bool(wrong), (seed, wrong, result.violation, result.missing)
    assert verdicts == {Verdict.HOLDS, Verdict.VIOLATION}
