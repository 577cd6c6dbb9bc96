"""The StateChangeExecutor: carries out, one at a time and in order, what a change of the frontend's type entails.

The protocol decides *that* a frontend becomes FOLLOWER or LEADER; the embedding system registers *what that means*
(stop the replayer, open the writer, ...) as executions. They may be slow and they may fail, so they run on a thread of
their own and never in the loop that sends heartbeats. Only when all of them have run does the frontend change its type.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hacoord.config import StateChange
from hacoord.ha.frontend import LEGAL_TRANSITIONS, FrontendType

log = logging.getLogger(__name__)


class Execution(Protocol):
    """What an embedding system does when the frontend's type changes.

    Either method may raise; it is then called again, until the retries or the time are used up. It may also be called
    for a change that events then overtake, and later once more. So both must bear being repeated.
    """

    def transfer_to_leader(self, epoch: int) -> None:
        """Get ready to write under this epoch."""

    def transfer_to_non_leader(self, to: FrontendType) -> None:
        """Get ready to follow (FOLLOWER, OBSERVER), or to serve what is here until a leader is found (UNKNOWN)."""


class IllegalTransition(Exception):
    """A change that no frontend may make was asked for; nothing has been done."""


class StateChangeFailed(Exception):
    """A change was not carried out, however often tried: the process should end, for nobody knows what it is now."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of type; `epoch` is the new leader's, None for any other type."""

    old: FrontendType
    new: FrontendType
    epoch: int | None

    def __str__(self) -> str:
        return f"{self.old.name} -> {self.new.name}" + ("" if self.epoch is None else f" (epoch {self.epoch})")


class StateChangeExecutor:
    """A queue of changes and the thread that carries them out.

    `done(type)` and `failed(error)` are called from that thread (or from its watchdog), exactly one of them for each
    change; after a failure nothing more is carried out.
    """

    def __init__(
        self,
        settings: StateChange,
        *,
        done: Callable[[FrontendType], None],
        failed: Callable[[StateChangeFailed], None],
    ) -> None:
        self.failures = 0
        """How often an execution has raised."""
        self._settings = settings
        self._done = done
        self._failed = failed
        self._executions: list[Execution] = []
        self._changes: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._settle = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="state-change", daemon=True)

    def register(self, execution: Execution) -> None:
        """Add an execution; they run in the order of registration. Register before `start`."""
        self._executions.append(execution)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def notify(self, old: FrontendType, new: FrontendType, epoch: int | None = None) -> None:
        """Queue the change from `old`, what the frontend is, to `new`; LEADER, and only LEADER, comes with its epoch.

        An illegal change is logged and refused with IllegalTransition.
        """
        if new not in LEGAL_TRANSITIONS[old] or (epoch is None) == (new is FrontendType.LEADER):
            refusal = f"a frontend that is {old.name} can't become {new.name} with epoch {epoch}"
            log.error("state change refused: %s", refusal)
            raise IllegalTransition(refusal)
        self._changes.put(Change(old, new, epoch))

    def stop(self, timeout: float = 1.0) -> bool:
        """Carry out nothing more, wait up to `timeout` seconds for what runs; returns whether the thread has ended."""
        self._stopping.set()
        self._changes.put(None)
        if self._thread.ident is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        rested = 0.0  # when, by the monotonic clock, the next change may begin
        while (change := self._changes.get()) is not None:
            if self._stopping.wait(max(0.0, rested - time.monotonic())):
                return
            self._carry_out(change)
            rested = time.monotonic() + self._settings.interval

    def _carry_out(self, change: Change) -> None:
        started = time.monotonic()
        deadline = started + self._settings.deadline
        attempts = _Attempts(change)
        settled = False

        def settle(succeeded: bool) -> None:
            """Report the outcome, unless the watchdog and the thread have met and the other one was first."""
            nonlocal settled
            with self._settle:
                if settled or self._stopping.is_set():
                    return
                settled = True
                if not succeeded:
                    self._stopping.set()
            took = time.monotonic() - started
            if succeeded:
                log.debug("state change %s took %.3f s", change, took)
                self._done(change.new)
            else:
                error = StateChangeFailed(f"state change {change} is given up after {took:.1f} s: {attempts}")
                log.error("%s", error)
                self._failed(error)

        # Python can't interrupt an execution that hangs; the watchdog reports it, and the process ends around it.
        watchdog = threading.Timer(self._settings.deadline, settle, [False])
        watchdog.daemon = True
        watchdog.start()
        try:
            settle(all(self._carried_out(execution, attempts, deadline) for execution in self._executions))
        except BaseException as error:  # SystemExit, say, which ends this thread alone
            attempts.error = repr(error)
            settle(False)
            raise
        finally:
            watchdog.cancel()

    def _carried_out(self, execution: Execution, attempts: _Attempts, deadline: float) -> bool:
        """Run one execution, again and again with growing pauses while it raises; whether it came to its end."""
        pause = self._settings.backoff_min
        attempts.begin(type(execution).__name__)
        while True:
            attempts.count += 1
            try:
                if attempts.change.epoch is not None:
                    execution.transfer_to_leader(attempts.change.epoch)
                else:
                    execution.transfer_to_non_leader(attempts.change.new)
            except Exception as error:  # whatever an embedding system raises, the answer is the same
                attempts.error = str(error)
                self.failures += 1
                log.warning("state change %s: %s", attempts.change, attempts)
                if attempts.count > self._settings.retries or time.monotonic() + pause >= deadline:
                    return False
                if self._stopping.wait(pause):
                    return False
                pause = min(2 * pause, self._settings.backoff_max)
            else:
                return True


@dataclass(slots=True)
class _Attempts:
    """How one change is getting on, in words that the watchdog can report at any time."""

    change: Change
    name: str = ""
    count: int = 0
    error: str = ""

    def begin(self, name: str) -> None:
        """The next execution's turn."""
        self.name, self.count, self.error = name, 0, ""

    def __str__(self) -> str:
        if not self.error:
            return f"{self.name} has not come back"
        return f"{self.name} failed (try {self.count}): {self.error}"
