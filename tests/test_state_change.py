"""Changes of the frontend's type: in order, retried, bounded in time, and never an illegal one."""

from __future__ import annotations

import dataclasses
import logging
import queue
import re
import threading
import time

import pytest

from hacoord.config import StateChange
from hacoord.ha.frontend import FrontendType
from hacoord.ha.state_change import IllegalTransition, StateChangeExecutor, StateChangeFailed

QUICK = StateChange(backoff_min=0.001, backoff_max=0.01, deadline=0.2, retries=1_000_000)
PATIENT = StateChange(backoff_min=0.001, backoff_max=0.01, deadline=20, retries=1_000_000)
WAIT = 10.0

Outcome = FrontendType | StateChangeFailed


class Recorder:
    """An execution that writes down what it was asked, after failing as often as it was told to."""

    def __init__(self, calls: list[str], name: str = "", failures: int = 0) -> None:
        self.calls = calls
        self.name = name
        self.failures = failures

    def transfer_to_leader(self, epoch: int) -> None:
        self._call(f"LEADER {epoch}")

    def transfer_to_non_leader(self, to: FrontendType) -> None:
        self._call(to.name)

    def _call(self, what: str) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("not yet")
        self.calls.append(self.name + what)


class Hanging(Recorder):
    """An execution that doesn't come back until it is released."""

    def __init__(self) -> None:
        super().__init__([])
        self.entered = threading.Event()
        self.release = threading.Event()

    def _call(self, what: str) -> None:
        self.entered.set()
        self.release.wait(WAIT)


def started(settings: StateChange, *executions: Recorder) -> tuple[StateChangeExecutor, queue.SimpleQueue[Outcome]]:
    """A running executor and the queue of what it reports."""
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    executor = StateChangeExecutor(settings, done=outcomes.put, failed=outcomes.put)
    for execution in executions:
        executor.register(execution)
    executor.start()
    return executor, outcomes


def test_executions_run_in_order_and_each_change_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    calls: list[str] = []
    executor, outcomes = started(PATIENT, Recorder(calls, "a "), Recorder(calls, "b "))
    executor.notify(FrontendType.INIT, FrontendType.FOLLOWER)
    executor.notify(FrontendType.FOLLOWER, FrontendType.UNKNOWN)
    executor.notify(FrontendType.UNKNOWN, FrontendType.LEADER, epoch=7)
    expected = [FrontendType.FOLLOWER, FrontendType.UNKNOWN, FrontendType.LEADER]
    assert [outcomes.get(timeout=WAIT) for _ in range(3)] == expected
    assert executor.stop()
    assert calls == ["a FOLLOWER", "b FOLLOWER", "a UNKNOWN", "b UNKNOWN", "a LEADER 7", "b LEADER 7"]
    assert "state change UNKNOWN -> LEADER (epoch 7) took" in caplog.text


def test_a_failing_execution_is_retried_and_those_before_it_are_not(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []
    executor, outcomes = started(PATIENT, Recorder(calls, "a "), Recorder(calls, "b ", failures=3))
    executor.notify(FrontendType.INIT, FrontendType.LEADER, epoch=1)
    assert outcomes.get(timeout=WAIT) is FrontendType.LEADER
    assert executor.stop()
    assert calls == ["a LEADER 1", "b LEADER 1"]
    assert "failed (try 3): not yet" in caplog.text


def test_retries_are_counted_for_each_execution() -> None:
    """As many as are allowed are made, by each execution, and not one more."""
    settings = dataclasses.replace(PATIENT, retries=2)
    calls: list[str] = []
    executor, outcomes = started(settings, Recorder(calls, "a ", failures=2), Recorder(calls, "b ", failures=2))
    executor.notify(FrontendType.INIT, FrontendType.FOLLOWER)
    assert outcomes.get(timeout=WAIT) is FrontendType.FOLLOWER
    assert executor.stop()
    assert calls == ["a FOLLOWER", "b FOLLOWER"]
    assert executor.failures == 4

    executor, outcomes = started(settings, Recorder(calls, failures=3))
    executor.notify(FrontendType.INIT, FrontendType.FOLLOWER)
    error = outcomes.get(timeout=WAIT)
    assert isinstance(error, StateChangeFailed)
    assert "Recorder failed (try 3): not yet" in str(error)
    assert executor.stop()
    assert executor.failures == 3

    executor, outcomes = started(dataclasses.replace(PATIENT, retries=0), Recorder(calls, failures=1))
    executor.notify(FrontendType.INIT, FrontendType.FOLLOWER)
    assert "try 1" in str(outcomes.get(timeout=WAIT))
    assert executor.stop()


def test_pauses_grow_to_their_bound() -> None:
    began = time.monotonic()
    settings = StateChange(backoff_min=0.02, backoff_max=0.04, deadline=20, retries=4)
    executor, outcomes = started(settings, Recorder([], failures=4))
    executor.notify(FrontendType.INIT, FrontendType.FOLLOWER)
    assert outcomes.get(timeout=WAIT) is FrontendType.FOLLOWER
    assert time.monotonic() - began >= 0.02 + 0.04 + 0.04 + 0.04
    assert executor.stop()


def test_changes_keep_their_distance() -> None:
    executor, outcomes = started(dataclasses.replace(PATIENT, interval=0.1))
    began = time.monotonic()
    executor.notify(FrontendType.INIT, FrontendType.FOLLOWER)
    outcomes.get(timeout=WAIT)
    executor.notify(FrontendType.FOLLOWER, FrontendType.UNKNOWN)
    outcomes.get(timeout=WAIT)
    assert time.monotonic() - began >= 0.1
    executor.notify(FrontendType.UNKNOWN, FrontendType.FOLLOWER)
    assert executor.stop(timeout=WAIT), "a pause does not hold up the end"
    assert outcomes.empty()


def test_what_keeps_failing_is_given_up_and_nothing_follows() -> None:
    calls: list[str] = []
    executor, outcomes = started(QUICK, Recorder(calls, failures=1_000_000))
    executor.notify(FrontendType.INIT, FrontendType.FOLLOWER)
    executor.notify(FrontendType.FOLLOWER, FrontendType.LEADER, epoch=1)
    error = outcomes.get(timeout=WAIT)
    assert isinstance(error, StateChangeFailed)
    assert re.search(r"INIT -> FOLLOWER is given up after .* s: Recorder failed \(try \d+\): not yet", str(error))
    assert executor.stop()
    assert outcomes.empty()
    assert calls == []


def test_what_hangs_is_reported_at_the_deadline_and_only_once() -> None:
    hanging = Hanging()
    executor, outcomes = started(QUICK, hanging)
    executor.notify(FrontendType.INIT, FrontendType.FOLLOWER)
    error = outcomes.get(timeout=WAIT)
    assert isinstance(error, StateChangeFailed)
    assert re.search(r"INIT -> FOLLOWER is given up after .* s: Hanging has not come back", str(error))
    assert not executor.stop(timeout=0.01)
    hanging.release.set()
    assert executor.stop(timeout=WAIT)
    assert outcomes.empty()


def test_stopping_ends_the_retries_without_a_report() -> None:
    executor, outcomes = started(PATIENT, Recorder([], failures=1_000_000))
    executor.notify(FrontendType.INIT, FrontendType.FOLLOWER)
    assert executor.stop(timeout=WAIT)
    assert outcomes.empty()


def test_a_change_that_is_done_after_the_stop_is_not_reported() -> None:
    hanging = Hanging()
    executor, outcomes = started(PATIENT, hanging)
    executor.notify(FrontendType.INIT, FrontendType.FOLLOWER)
    assert hanging.entered.wait(WAIT)
    assert not executor.stop(timeout=0.01)
    hanging.release.set()
    assert executor.stop(timeout=WAIT)
    assert outcomes.empty()


@pytest.mark.parametrize(
    ("old", "new", "epoch"),
    [
        (FrontendType.INIT, FrontendType.UNKNOWN, None),
        (FrontendType.OBSERVER, FrontendType.LEADER, 1),
        (FrontendType.OBSERVER, FrontendType.FOLLOWER, None),
        (FrontendType.FOLLOWER, FrontendType.FOLLOWER, None),
        (FrontendType.FOLLOWER, FrontendType.INIT, None),
        (FrontendType.LEADER, FrontendType.FOLLOWER, None),
        (FrontendType.LEADER, FrontendType.LEADER, 2),
        (FrontendType.INIT, FrontendType.LEADER, None),
        (FrontendType.INIT, FrontendType.FOLLOWER, 3),
    ],
)
def test_illegal_changes_are_refused_and_logged(
    old: FrontendType, new: FrontendType, epoch: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    executor, outcomes = started(PATIENT, Recorder(calls))
    with pytest.raises(IllegalTransition, match=f"is {old.name} can't become {new.name}"):
        executor.notify(old, new, epoch)
    assert executor.stop()
    assert calls == []
    assert outcomes.empty()
    assert "state change refused" in caplog.text


def test_an_execution_that_exits_is_given_up_like_one_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    class Exits(Recorder):
        def transfer_to_leader(self, epoch: int) -> None:
            raise SystemExit(1)

    executor, outcomes = started(QUICK, Exits([]))
    executor.notify(FrontendType.FOLLOWER, FrontendType.LEADER, 1)
    assert isinstance(outcomes.get(timeout=WAIT), StateChangeFailed)
    executor.stop()
