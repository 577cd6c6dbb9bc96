"""Changes of the group as whoever asks for them sees them: wait for their turn, take effect, are committed, answered.

What is asked for may take two steps, each a change of one node that has to be committed before the next: an observer
becomes a learner, and then a voter. Learners are promoted without being asked, as soon as they have caught up. A change
that would leave fewer voters than a quorum that are alive is refused unless forced: it would be the last one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hacoord.config import parse_address
from hacoord.ha.catch_up import CatchUp
from hacoord.ha.frontend import Frontend
from hacoord.net.frames import is_name
from hacoord.raft.changes import ChangeNotYet, ChangeRefused, Changes, NotCaughtUp
from hacoord.raft.core import NotLeader, Role
from hacoord.raft.group import Configuration, Part
from hacoord.settings import NAME


class Action(StrEnum):
    """What can be asked for."""

    JOIN = "join"
    ADD_OBSERVER = "add_observer"
    PROMOTE = "promote"
    DEMOTE = "demote"
    DROP = "drop"
    MOVE = "move"


@dataclass(frozen=True, slots=True)
class Change:
    """One request; `address` is the "host:port" of who joins or moves. `force` does without enough live voters."""

    action: Action
    name: str
    address: str = ""
    force: bool = False


def parse_change(fields: Mapping[str, object]) -> tuple[Change, float]:
    """A change as a client asks for it, and its patience in seconds. Raises ValueError, ConfigError."""
    match fields:
        case {"action": str(action), "name": str(name), "address": str(address), "timeout": float(timeout), **more}:
            change = Change(Action(action), name, address, force=more.get("force") is True)
        case _:
            raise ValueError("a change of the group has an action, a name, an address and a timeout")
    if not is_name(name):
        raise ValueError(f"{name!r} can't be the name of a node: 1 to 64 printable ASCII characters")
    if change.action in (Action.JOIN, Action.ADD_OBSERVER) and not NAME.fullmatch(name):
        raise ValueError(f"{name!r} can't be the name of a new node: its data directory would not take it")
    if change.action in (Action.JOIN, Action.ADD_OBSERVER, Action.MOVE):
        parse_address(address)
    return change, timeout


@dataclass(frozen=True, slots=True)
class Changed:
    """It is done, and committed with the log entry at `index`."""

    index: int


class ChangeUnknown(Exception):
    """The leader lost its office meanwhile: the change, or a part of it, may or may not come about."""


Outcome = Changed | ChangeRefused | ChangeUnknown | NotLeader
Step = Callable[[Changes], int]


@dataclass(slots=True, eq=False)
class _Request:
    """A request on its way: the steps still to be made, and the one that is to be committed."""

    change: Change
    until: float
    answer: Callable[[Outcome], None]
    steps: deque[Step] | None = None
    under_way: tuple[int, int] | None = None
    # A part of it is committed.
    begun: bool = False
    refusal: ChangeRefused = field(default_factory=lambda: ChangeRefused("not in time: try again"))


class Membership:
    """The changes that one node, the leader, makes. `submit` is for all threads; `turn` belongs to the loop."""

    def __init__(
        self,
        frontend: Frontend,
        clock: Callable[[], float],
        wake: Callable[[], None],
        outdated: Callable[[], Iterable[str]],
        patience: float,
    ) -> None:
        """`clock` is monotonic, in seconds; `wake` ends the loop's wait; `outdated` peers know of no changes.

        For who lags behind, writes wait up to `patience` seconds: an election timeout.
        """
        self._frontend = frontend
        self._raft = frontend.raft
        self._clock = clock
        self._wake = wake
        self._outdated = outdated
        self._lock = threading.Lock()
        self._closed = False
        self._requests: deque[_Request] = deque()
        self._catch_up = CatchUp(patience)
        # Of those who keep a change waiting in this turn, how far the one has come that is next to have all.
        self._lagging: int | None = None

    def submit(self, change: Change, timeout: float, answer: Callable[[Outcome], None]) -> None:
        """Ask for a change. `answer` is called once, in the loop: after `timeout` seconds if it may not be made yet."""
        with self._lock:
            closed = self._closed
            if not closed:
                self._requests.append(_Request(change, self._clock() + timeout, answer))
        if closed:
            answer(NotLeader(None))
        self._wake()

    def turn(self) -> None:
        """Answer what has been committed, propose what may be proposed, promote who has caught up."""
        self._lagging = None
        with self._lock:
            requests = list(self._requests)
        for request in requests:
            outcome = self._advance(request)
            if outcome is not None:
                with self._lock:  # nobody may add to it meanwhile
                    self._requests.remove(request)
                request.answer(outcome)
        if self._frontend.takes_in and not any(request.under_way for request in requests):
            self._promote_learners()
        self._frontend.held_until = self._catch_up.hold(self._lagging, self._raft.commit_index, self._clock())

    def close(self) -> None:
        """The loop ends: whoever waits is told so."""
        with self._lock:
            self._closed = True
            waiting, self._requests = self._requests, deque()
        for request in waiting:
            request.answer(
                ChangeUnknown("the node ended") if request.under_way or request.begun else NotLeader(None)
            )

    def _advance(self, request: _Request) -> Outcome | None:
        raft = self._raft
        if request.under_way:
            index, term = request.under_way
            if raft.role is not Role.LEADER or raft.term != term:
                return ChangeUnknown(f"{raft.name} lost its office meanwhile: look what came of the change")
            if raft.commit_index < index:
                return None
            if not request.steps:
                return Changed(index)
            request.under_way, request.begun = None, True
        outcome = self._step(request)
        if request.begun and isinstance(outcome, NotLeader | ChangeRefused):
            # Whoever hands over may go on as LEADER.
            if isinstance(outcome, NotLeader) and raft.role is Role.LEADER and self._clock() < request.until:
                return None
            return ChangeUnknown(f"a part of the change was made, and then no more: {outcome}")
        return outcome

    def _step(self, request: _Request) -> Outcome | None:
        raft = self._raft
        try:
            changes = self._frontend.changes()
            if request.steps is None:
                request.steps = deque(self._steps(request.change))
            index = request.steps[0](changes)
            request.steps.popleft()
        except NotLeader as refusal:
            return refusal
        except ChangeNotYet as refusal:
            self._note(refusal)
            request.refusal = refusal
            return refusal if self._clock() >= request.until else None
        except ChangeRefused as refusal:
            return refusal
        request.under_way = index, raft.term
        return None

    def _steps(self, change: Change) -> list[Step]:
        name, address, force = change.name, change.address, change.force
        group = self._raft.log.group.current
        if old := sorted(set(self._outdated()) - {name}):
            raise ChangeRefused(
                f"{', '.join(old)} would not be told of a change, with an older version of hacoord: upgrade it first"
            )
        match change.action:
            case Action.JOIN | Action.ADD_OBSERVER:
                part = Part.LEARNER if change.action is Action.JOIN else Part.OBSERVER
                if name in group.removed:
                    raise ChangeRefused(f"{name} was a member once: choose a name that was never used")
                return [self._join(name, address, part)]
            case Action.PROMOTE:
                enlist: list[Step] = [lambda changes: changes.enlist(name)]
                return (enlist if group.part(name) is Part.OBSERVER else []) + [self._promote(name, force)]
            case Action.DEMOTE:
                return [self._without_vote(name, force, lambda changes: changes.demote(name))]
            case Action.DROP:
                return [self._without_vote(name, force, lambda changes: changes.remove(name))]
            case Action.MOVE:
                return [lambda changes: changes.move(name, address)]

    def _join(self, name: str, address: str, part: Part) -> Step:
        def join(changes: Changes) -> int:
            group = self._raft.log.group
            member = group.current.members.get(name)
            if member and (member.part, member.address) == (part, address) and not self._heard(name):
                # Asked for again, because the answer got lost: nobody has it yet. Perhaps it is not even committed.
                return group.index
            add = changes.add_learner if part is Part.LEARNER else changes.add_observer
            return add(name, address)

        return join

    def _heard(self, name: str) -> bool:
        """Whether a node has stored anything of this leader's, so that there must be a data directory of that name."""
        return name in self._raft.stores()

    def _without_vote(self, name: str, force: bool, change: Step) -> Step:
        def checked(changes: Changes) -> int:
            group = self._raft.log.group.current
            vital = group.part(name) is Part.VOTER and not force
            if vital and (problem := self._no_quorum(group.without(name), f"without {name}")):
                raise ChangeRefused(problem)
            return change(changes)

        return checked

    def _promote(self, name: str, force: bool) -> Step:
        def promote(changes: Changes) -> int:
            group = self._raft.log.group.current
            if name in group.voters:  # as soon as it had caught up, before it was its turn here
                return self._raft.log.group.index
            risky = group.part(name) is Part.LEARNER and not force
            if risky and (problem := self._no_quorum(group.promoting(name), f"with {name}")):
                raise ChangeNotYet(problem)
            return changes.promote(name)

        return promote

    def _no_quorum(self, after: Configuration, how: str) -> str | None:
        """Why a change is not to be made: the voters that are alive would be no quorum (incidents 5 and 15)."""
        alive = self._raft.alive().intersection(after.voters)
        if len(alive) >= after.quorum:
            return None
        return (
            f"{how} there would be {len(after.voters)} voters, {len(alive)} of them alive where {after.quorum} are "
            "needed: bring others back first, or use force"
        )

    def _promote_learners(self) -> None:
        group = self._raft.log.group.current
        for member in group.members.values():
            if member.part is Part.LEARNER:
                try:
                    self._promote(member.name, force=False)(self._frontend.changes())
                    return
                except ChangeRefused as refusal:
                    self._note(refusal)

    def _note(self, refusal: ChangeRefused) -> None:
        if isinstance(refusal, NotCaughtUp):
            self._lagging = max(self._lagging or 0, refusal.reach)
