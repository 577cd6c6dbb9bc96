"""Chooses what happens to a Cluster at random from a seed, on virtual time, so that every run can be had again."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hacoord.raft.changes import ChangeRefused
from hacoord.raft.core import Timing
from hacoord.raft.group import Part
from hacoord.raft.leadership import Limits
from hacoord.raft.messages import Message
from hacoord.sim.cluster import Cluster, CrashPoint

MOST_MEMBERS = 8
MOST_VOTERS = 5
"""How far a simulation lets the group grow."""
READ_EVERY = 0.1
"""Seconds of virtual time, on average, between two reads at each leader."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How unkind the scheduler is: probabilities per message, mean seconds between crashes, cuts, transfers."""

    drop: float = 0.0
    duplicate: float = 0.0
    delay: tuple[float, float] = (0.001, 0.005)
    crash_every: float | None = None
    partition_every: float | None = None
    transfer_every: float | None = None
    downtime: tuple[float, float] = (0.5, 3.0)


class Simulation:
    """Runs a Cluster on virtual time; the same seed gives the same run."""

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        *,
        observers: int = 0,
        seed: int = 0,
        faults: Faults | None = None,
        writes_per_turn: int = 1,
        write_every: float = 0.01,
        image_every: float | None = None,
        change_every: float | None = None,
        timing: Timing | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Every `write_every` seconds of virtual time, `writes_per_turn` entries are written at every leader.

        And every READ_EVERY seconds there is a read at every leader; every `image_every` seconds one of the nodes
        makes an image, and gives up entries for it; every `change_every` seconds each leader tries to change the group,
        in some way. Each is on average.
        """
        self.now = 0.0
        self._rng = random.Random(f"simulation/{seed}")
        self._faults = faults or Faults()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._cut: frozenset[str] = frozenset()
        self._ticking: dict[str, float] = {}
        self._restarting: set[str] = set()
        self.cluster = Cluster(
            directory, size, observers=observers, seed=seed, timing=timing, limits=limits, clock=lambda: self.now
        )
        self._every(write_every, lambda: self._write(writes_per_turn))
        self._every(READ_EVERY, self._read)
        if image_every:
            self._every(image_every, self._image)
        if change_every:
            self._every(change_every, self._change)
        if self._faults.crash_every:
            self._every(self._faults.crash_every, self._crash_one)
        if self._faults.partition_every:
            self._every(self._faults.partition_every, self._cut_some)
        if self._faults.transfer_every:
            self._every(self._faults.transfer_every, self._transfer)
        self._after_step()

    def run(self, until: Callable[[], bool]) -> None:
        """Let things happen until `until()` is true."""
        while not until():
            self.now, _, action = heapq.heappop(self._agenda)
            action()
            self._after_step()

    def cut(self, *names: str) -> None:
        """Cut these nodes off from all others; nobody, to heal the network."""
        self._cut = frozenset(names)

    def _at(self, delay: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (self.now + delay, self._count, action))

    def _every(self, mean: float, action: Callable[[], None]) -> None:
        def again() -> None:
            action()
            self._at(mean * (0.5 + self._rng.random()), again)

        self._at(mean * (0.5 + self._rng.random()), again)

    def _after_step(self) -> None:
        """Give every new message its fate, and every running node a tick when it wants one."""
        messages, self.cluster.in_flight = self.cluster.in_flight, []
        for message in messages:
            copies = 0 if self._rng.random() < self._faults.drop else 1 + (self._rng.random() < self._faults.duplicate)
            for _ in range(copies):
                self._at(self._rng.uniform(*self._faults.delay), lambda m=message: self._deliver(m))  # type: ignore[misc]
        for name in self.cluster.names:
            away = name not in self.cluster.running and name not in self.cluster.removed
            if away and name not in self._restarting:
                self._restarting.add(name)
                self._at(self._rng.uniform(*self._faults.downtime), lambda n=name: self._restart(n))  # type: ignore[misc]
        for name, process in self.cluster.running.items():
            deadline = process.frontend.deadline()
            if self._ticking.get(name) != deadline:
                self._ticking[name] = deadline
                self._at(max(0.0, deadline - self.now), lambda n=name, d=deadline: self._tick(n, d))  # type: ignore[misc]

    def _deliver(self, message: Message) -> None:
        if (message.src in self._cut) == (message.dst in self._cut):
            self.cluster.deliver(message)

    def _tick(self, name: str, deadline: float) -> None:
        if self._ticking.get(name) == deadline and name in self.cluster.running:
            del self._ticking[name]
            self.cluster.tick(name)

    def _write(self, count: int) -> None:
        for name in self.cluster.leaders():
            self.cluster.write(name, count)

    def _read(self) -> None:
        for name in self.cluster.leaders():
            self.cluster.read(name)

    def _transfer(self) -> None:
        """One who leads hands over, to anybody."""
        for name in self.cluster.leaders()[:1]:
            heirs = [n for n in self.cluster.running[name].frontend.raft.voters if n != name]
            if heirs:
                self.cluster.hand_over(name, self._rng.choice(heirs), force=self._rng.random() < 0.2)

    def _image(self) -> None:
        if self.cluster.running:
            self.cluster.image(self._rng.choice(sorted(self.cluster.running)), self._rng.choice([0, 1, 5, 50]))

    def _change(self) -> None:
        """Every leader tries one of the changes there are; many are refused, as they should be."""
        for name in self.cluster.leaders():
            with suppress(ChangeRefused):
                self._change_at(name)

    def _change_at(self, leader: str) -> None:
        rng, cluster = self._rng, self.cluster
        group = cluster.running[leader].frontend.raft.log.group.current
        learners = [m.name for m in group.members.values() if m.part is Part.LEARNER]
        one = rng.choice(list(group.members))
        match rng.choice(["add", "promote", "promote", "remove", "demote", "enlist", "move"]):
            case "add" if len(group.members) < MOST_MEMBERS:
                part = rng.choice([Part.LEARNER, Part.LEARNER, Part.OBSERVER])
                cluster.add(leader, part, rng.choice(["", *sorted(group.removed)]))
            case "promote" if learners and len(group.voters) < MOST_VOTERS:
                cluster.promote(leader, rng.choice(learners))
            case "remove":
                cluster.remove(leader, one)
            case "demote":
                cluster.demote(leader, one)
            case "enlist":
                cluster.enlist(leader, one)
            case "move":
                cluster.move(leader, one, f"{one}:{rng.randrange(7000, 7003)}")

    def _crash_one(self) -> None:
        if not self.cluster.running:
            return
        name = self._rng.choice(sorted(self.cluster.running))
        if self._rng.random() < 0.5:
            self.cluster.crash_at(name, self._rng.choice(list(CrashPoint)))
        else:
            self.cluster.crash(name)

    def _cut_some(self) -> None:
        names = self.cluster.names
        self.cut(*(() if self._cut else self._rng.sample(names, self._rng.randrange(len(names)))))

    def _restart(self, name: str) -> None:
        self._restarting.discard(name)
        self.cluster.restart(name)
