"""A write that is tried again with its key is written once, whoever leads by then, and answered as it was then."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_checkpoint import Counting
from test_journal import PEER, Leader, kinds
from test_node import WAIT, Running, make, until

from hacoord import keys
from hacoord.config import Batch
from hacoord.disk.backup import from_directory
from hacoord.images import decode
from hacoord.journal import NotLeader, OutcomeUnknown, Receipt
from hacoord.keys import Keys, Written, pack, unpack
from hacoord.node import Exit
from hacoord.raft.messages import Appended, Vote


def write(leader: Leader, key: str, data: bytes = b"x") -> None:
    leader.journal.submit(data, leader.answers.append, key=key)


def places(leader: Leader) -> list[int]:
    return [answer.index for answer in leader.answers if isinstance(answer, Receipt)]


def test_two_tries_under_way_are_one_entry_and_both_are_answered() -> None:
    leader = Leader()
    leader.elect()
    write(leader, "a")
    write(leader, "b")
    write(leader, "a")
    leader.turn()
    write(leader, "a")
    leader.turn()
    assert leader.answers == []
    leader.peer_stores()
    leader.turn()
    assert sorted(places(leader)) == [3, 3, 3, 4]
    assert [entry.data for entry in leader.entries] == [b"x", b"x"]


def test_a_key_that_has_been_written_is_answered_at_once_with_an_ack_of_its_own() -> None:
    leader = Leader()
    leader.elect()
    for _ in range(2):
        write(leader, "a")
        leader.turn()
        leader.peer_stores()
        leader.turn()
    first, second = leader.answers
    assert isinstance(first, Receipt)
    assert isinstance(second, Receipt)
    assert (first.index, first.term, first.epoch) == (second.index, second.term, second.epoch)
    assert first.ack != second.ack
    assert [event.fields for event in leader.said if event.name == "Ack"] == [{"first": 3, "last": 3}] * 2
    assert leader.raft.last == 3


def test_what_an_earlier_leader_wrote_is_acknowledged_with_its_term() -> None:
    leader = Leader()
    leader.elect()
    write(leader, "a")
    leader.turn()  # n2 stores it, and n1 does not hear of that before it loses its office
    leader.hear(Vote("n2", "n1", PEER, 2, False, False, None))
    leader.turn()
    assert kinds(leader.answers) == [OutcomeUnknown]
    again = Leader(entries=[leader.raft.entry(at) for at in (1, 2, 3)])
    again.elect()
    write(again, "a")
    again.turn()
    (receipt,) = again.answers
    assert isinstance(receipt, Receipt)
    assert (receipt.index, receipt.term, receipt.epoch) == (3, 1, 1)
    ack = next(event for event in again.said if event.name == "Ack")
    assert ack.fields == {"first": 3, "last": 3, "entry_term": 1}
    assert ack.term > 1


def test_who_waits_for_another_try_learns_that_the_leader_lost() -> None:
    leader = Leader()
    leader.elect()
    write(leader, "a")
    write(leader, "a")
    leader.turn()
    leader.hear(Vote("n2", "n1", PEER, 9, False, False, None))
    leader.turn()
    assert kinds(leader.answers) == [OutcomeUnknown] * 2


def test_who_does_not_lead_does_not_answer_for_what_it_knows() -> None:
    leader = Leader()
    leader.elect()
    write(leader, "a")
    leader.turn()
    leader.peer_stores()
    leader.turn()
    leader.hear(Vote("n2", "n1", PEER, 9, False, False, None))
    write(leader, "a")
    leader.turn()
    assert kinds(leader.answers) == [Receipt, NotLeader]


def test_tries_count_in_the_queue() -> None:
    leader = Leader(Batch(queue=2))
    leader.elect()
    for _ in range(3):
        write(leader, "a")
        leader.turn()
    assert len(leader.answers) == 1
    assert leader.journal.depth == (0, 2, 0)


@pytest.mark.parametrize("key", ["", "k" * 201, "\N{SNOWMAN}" * 67])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="1 to 200 bytes"):
        write(Leader(), key)


@pytest.mark.parametrize("key", ["a", "k" * 200, "\N{SNOWMAN}"])
def test_key_and_data_come_back(key: str) -> None:
    assert unpack(pack(key, b"data")) == (key, b"data")


def test_the_newest_keys_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "KEYS", 3)
    table = Keys()
    for index, key in enumerate("abcad"):
        table.add(key, Written(index, 1, 1, None))
    assert [table.get(key) for key in "bcad"] == [None, *(Written(index, 1, 1, None) for index in (2, 3, 4))]
    copy = Keys()
    copy.load([list(row) for row in table.dump()])
    copy.add("e", Written(5, 1, 1, None))
    assert [bool(copy.get(key)) for key in "cade"] == [False, True, True, True]


def test_an_image_remembers_keys_and_what_the_machine_said(tmp_path: Path) -> None:
    [directory] = make(tmp_path)
    first = Counting(directory)
    first.ready()
    journal = first.node.journal
    once = journal.append(b"a", WAIT, "k")
    for _ in range(30):
        journal.append(b"a", WAIT)
    until(lambda: journal.first > once.index)
    first.stop()
    again = Counting(directory)
    again.ready()
    twice = again.node.journal.append(b"a", WAIT, "k")
    assert (twice.index, twice.term, twice.epoch, twice.result) == (once.index, once.term, once.epoch, 1)
    assert again.machine.counts == {"a": 31}
    assert again.stop() is Exit.STOPPED


def test_what_was_written_with_keys_is_in_a_backup_without_them(tmp_path: Path) -> None:
    [directory] = make(tmp_path)
    node = Running(directory).ready()
    node.node.journal.append(b"plain", WAIT)
    node.node.journal.append(b"keyed", WAIT, "k")
    node.stop()
    _, content = from_directory(directory)
    assert decode(content).entries == node.entries
    assert [entry.data for entry in node.entries] == [b"plain", b"keyed"]
    assert decode(content).keys == []


def test_a_try_is_answered_whose_key_is_forgotten_in_the_turn_that_takes_it_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "KEYS", 2)
    leader = Leader()
    leader.elect()
    for key in ("a", "b"):
        write(leader, key)
    leader.turn()
    leader.peer_stores()
    leader.turn()
    write(leader, "c")
    leader.turn()
    leader.raft.step(Appended("n2", "n1", PEER, leader.raft.term, True, leader.raft.last, PEER), leader.now)
    write(leader, "a")
    for _ in range(5):
        leader.turn()
    assert kinds(leader.answers) == [Receipt, Receipt, Receipt, OutcomeUnknown]
    assert not leader.journal.has_proposed
