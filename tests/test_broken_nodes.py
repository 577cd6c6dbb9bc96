"""Nodes that are wrong, each in one way, under the same harsh scheduler: the checker must refuse what they do.

Every fault is put into the real implementation (or its disk), the cluster is run until the fault has shown itself in a
trace, and the checker, which knows nothing of the fault, has to name a rule that was broken. Two things are asserted:
a run that was really unsafe, as seen from inside the nodes, is never accepted; and each fault is caught within a few
seeds, by one of the rules that are meant for it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hacoord.ha import frontend as frontend_module
from hacoord.ha.frontend import Frontend, FrontendType
from hacoord.raft import elections as elections_module
from hacoord.raft.core import LogDiverged, NotLeader, Raft, Role
from hacoord.raft.log import Log, epoch_record
from hacoord.raft.messages import AppendEntries, Base, Entry, HardState, InstallSnapshot, Persist, Ref, RequestVote
from hacoord.raft.reads import Reads
from hacoord.sim import Cluster, Disk, Faults, Process, Simulation
from trace_check import Verdict, assert_holds, replay

HARSH = Faults(
    drop=0.05, duplicate=0.05, delay=(0.001, 0.15), crash_every=2.0, partition_every=3.0, downtime=(0.05, 1.5)
)
SEEDS = 12

Patch = pytest.MonkeyPatch


def forget_votes(patch: Patch) -> None:
    """The vote never reaches the disk."""
    save = Disk.save

    def without_vote(disk: Disk, write: Persist) -> None:
        state = write.hard_state and HardState(write.hard_state.term, None)
        save(disk, Persist(state, write.first, write.entries))

    patch.setattr(Disk, "save", without_vote)


def forget_terms(patch: Patch) -> None:
    """The term never reaches the disk."""

    def entries_only(disk: Disk, write: Persist) -> None:
        if write.first:
            disk.entries[write.first - 1 :] = write.entries

    patch.setattr(Disk, "save", entries_only)


def lose_synced_entries(patch: Patch) -> None:
    """The disk loses its last entry in a crash, sync or no sync."""
    crash = Cluster.crash

    def lossy(cluster: Cluster, name: str) -> None:
        crash(cluster, name)
        del cluster.disks[name].entries[-1:]

    patch.setattr(Cluster, "crash", lossy)


def vote_for_anyone(patch: Patch) -> None:
    """No election restriction: every candidate's log is good enough."""
    ask = Raft._on_request_vote

    def generous(raft: Raft, m: Any) -> None:
        boasting = RequestVote(m.src, m.dst, m.ref, m.term, 10**9, 10**9, m.pre, m.campaign)
        ask(raft, boasting)

    patch.setattr(Raft, "_on_request_vote", generous)


def half_is_a_quorum(patch: Patch) -> None:
    """Two of four are thought to be enough, for votes and for commitment."""
    patch.setattr(Raft, "quorum", property(lambda raft: max(1, len(raft.voters) // 2)))


def commit_by_counting(patch: Patch) -> None:
    """A leader commits entries of older terms as soon as a majority has them (figure 8 of the Raft paper)."""
    def counting(raft: Raft) -> None:
        assert raft._leadership
        found = list(raft._leadership.stores(raft.voters).values())
        if raft._store_ref:
            found.append((raft._synced, raft._store_ref))
        if len(found) >= raft.quorum:
            index = sorted(reach for reach, _ in found)[-raft.quorum]
            raft.commit(min(index, raft.epoch_index - 1), stores=[ref for _, ref in found])

    patch.setattr(Raft, "_commit_what_a_quorum_stored", counting)


def claim_unsynced_entries(patch: Patch) -> None:
    """A leader says that its entries are stored before its disk has them."""
    settle = Raft._settle

    def hasty(raft: Raft) -> None:
        raft._synced = raft.log.last
        settle(raft)

    patch.setattr(Raft, "_settle", hasty)


def listen_to_deposed_leaders(patch: Patch) -> None:
    """A node takes entries of an older term although it has moved on."""
    take = Raft._on_append_entries

    def gullible(raft: Raft, m: AppendEntries) -> None:
        if m.term < raft.term and raft.role is Role.FOLLOWER and raft.log.holds(m.prev, m.prev_term):
            _take_without_checking(raft, m)
            now, raft.term = raft.term, m.term
            raft.leader, raft._matched, raft._owes_answer = m.src, raft.log.last, True
            raft._settle()
            raft.term, raft.leader = now, None
        else:
            take(raft, m)

    patch.setattr(Raft, "_on_append_entries", gullible)
    patch.setattr(Raft, "_check_quorum", lambda raft: None)


def activate_unfenced(patch: Patch) -> None:
    """A winner becomes LEADER without waiting for its epoch record."""
    patch.setattr(Raft, "fenced", property(lambda raft: raft.role is Role.LEADER))


def step_down_in_place(patch: Patch) -> None:
    """A LEADER that lost becomes a FOLLOWER without ending."""
    table = {**frontend_module.LEGAL_TRANSITIONS, FrontendType.LEADER: frozenset({FrontendType.FOLLOWER})}
    patch.setattr(frontend_module, "LEGAL_TRANSITIONS", table)
    patch.setattr(Frontend, "_watch", lambda frontend: None)
    patch.setattr(Frontend, "ready", property(lambda f: f.raft.role is Role.LEADER and f.type is FrontendType.LEADER))


def acknowledge_at_once(patch: Patch) -> None:
    """Clients are told before anything is committed."""

    def rash(cluster: Cluster, name: str, process: Process) -> None:
        done, process.promised[:] = list(process.promised), []
        if done and process.frontend.ready:
            ack = process.frontend.ack(done[0][0], done[-1][0])
            cluster._speak(name, process)
            for index, client, op in done:
                client.ok(op, index, process.frontend.raft.term, ack)

    patch.setattr(Cluster, "_answer_clients", rash)


def count_epochs_locally(patch: Patch) -> None:
    """Each node counts its own elections (StarRocks issue 12136: the next epoch was a count, and collided)."""
    elections: dict[str, int] = {}

    def own_count(_: int, owner: str) -> bytes:
        elections[owner] = elections.get(owner, 0) + 1
        return epoch_record(elections[owner], owner)

    patch.setattr(elections_module, "epoch_record", own_count)


def believe_any_commit_index(patch: Patch) -> None:
    """A follower commits as far as the leader says, even where its own log is not known to be the leader's."""
    take = Raft._on_append_entries

    def believing(raft: Raft, m: AppendEntries) -> None:
        take(raft, m)
        if raft.term == m.term:
            raft.commit(min(m.commit, raft.log.last), leader_commit=m.commit_ref)

    patch.setattr(Raft, "_on_append_entries", believing)


def store_other_bytes(patch: Patch) -> None:
    """A node's disk changes a byte of what it is given, and the node reads its own copy as good."""
    append = Log.append

    def corrupt(log: Log, term: int, kind: Any, data: bytes) -> Entry:
        entry = append(log, term, kind, data + b"?" if log.last == 20 and data.startswith(b"w") else data)
        return entry

    patch.setattr(Log, "append", corrupt)
    patch.setattr(Raft, "_take_entries", _take_without_checking)


def _take_without_checking(raft: Raft, m: AppendEntries) -> None:
    new = [e for e in m.entries if not raft.log.holds(e.index, e.term)]
    if new:
        raft.log.truncate(new[0].index)
        for entry in new:
            raft.log.append(entry.term, entry.kind, entry.data)
        raft._dirty_from = min(raft._dirty_from or new[0].index, new[0].index)
        raft.outbox.hold()


def count_votes_never_given(patch: Patch) -> None:
    """A candidate takes its pre-votes for votes."""

    def win_early(raft: Raft) -> None:
        if len(raft._ballots) >= raft.quorum and raft.role is Role.PRECANDIDATE:
            asked = [n for n in raft._ballots if n != raft.name]
            raft.campaign()
            raft._ballots |= {n: Ref(n, "1-00000000", 2) for n in asked}
        elif raft.role is Role.CANDIDATE and not raft._hard_dirty:
            raft.win()

    patch.setattr(Raft, "_count_votes", win_early)


def serve_unconfirmed(patch: Patch) -> None:
    """A leader answers reads without asking whether it leads still."""
    serve = Reads.read_serve

    def rash(reads: Reads, term: int, index: int, voters: Any, quorum: int) -> Ref | None:
        return serve(reads, term, index, voters, 1)

    patch.setattr(Reads, "read_serve", rash)


def count_any_confirmation(patch: Patch) -> None:
    """A leader takes the answer to an earlier round for one to this."""

    def credulous(reads: Reads, by: str, start: Ref | None, confirm: Ref | None) -> None:
        if confirm is not None:
            reads._confirms[by] = confirm

    patch.setattr(Reads, "confirmed", credulous)


def read_what_is_not_committed(patch: Patch) -> None:
    """A leader shows its readers all that it has."""
    serve = Reads.read_serve

    def generous(reads: Reads, term: int, index: int, voters: Any, quorum: int) -> Ref | None:
        return serve(reads, term, index + 1, voters, quorum)

    patch.setattr(Reads, "read_serve", generous)


def make_images_of_uncommitted_entries(patch: Patch) -> None:
    """A leader makes an image of its whole log (Doris issue 5218: images ahead of the followers' logs)."""
    image = Cluster.image

    def rash(cluster: Cluster, name: str, keep: int = 0) -> None:
        raft = cluster.running[name].frontend.raft
        known, raft.commit_index = raft.commit_index, raft.last
        image(cluster, name, keep)
        raft.commit_index = known

    patch.setattr(Cluster, "image", rash)


def forget_images(patch: Patch) -> None:
    """The image is lost in a crash, and so is what had been given up for it."""
    crash = Cluster.crash

    def lossy(cluster: Cluster, name: str) -> None:
        crash(cluster, name)
        disk = cluster.disks[name]
        if disk.base.last:
            disk.image, disk.base, disk.entries = None, Base(), []

    patch.setattr(Cluster, "crash", lossy)


def install_what_a_deposed_leader_sends(patch: Patch) -> None:
    """A node takes the image of a leader of an older term, as if it were its own leader's."""
    follow = Raft._follow

    def gullible(raft: Raft, m: Any) -> bool:
        return follow(raft, m) or (isinstance(m, InstallSnapshot) and raft.role is Role.FOLLOWER)

    def anybody_else(peer: Any, m: Any) -> Any:
        return replace(m, shown=Ref(m.shown.node, m.shown.inc, 1))

    take = Raft._on_install_snapshot
    patch.setattr(Raft, "_follow", gullible)
    patch.setattr(Raft, "_on_install_snapshot", lambda raft, m: take(raft, anybody_else(raft, m)))


# Fault, cluster size, and the rules that may name it (a fault breaks several promises; which comes first is chance).
FAULTS: list[tuple[Callable[[Patch], None], int, set[str]]] = [
    (forget_votes, 3, {"NothingForgotten"}),
    (forget_terms, 3, {"NothingForgotten", "TermMonotonic"}),
    (lose_synced_entries, 3, {"NothingForgotten"}),
    (vote_for_anyone, 3, {"UpToDate"}),
    (half_is_a_quorum, 4, {"ElectionQuorum", "CommitQuorum"}),
    (commit_by_counting, 3, {"CommitOwnTerm"}),
    (claim_unsynced_entries, 3, {"NothingForgotten"}),
    (listen_to_deposed_leaders, 3, {"TermMonotonic", "StoreOnLeaderLog"}),
    (activate_unfenced, 3, {"Fencing", "Frontend"}),
    (step_down_in_place, 3, {"Frontend"}),
    (acknowledge_at_once, 3, {"AckCommitted"}),
    (count_epochs_locally, 3, {"EpochConsecutive"}),
    (believe_any_commit_index, 3, {"CommitCited", "CommitAgrees", "CommitContiguous"}),
    (store_other_bytes, 3, {"SameDigest"}),
    (count_votes_never_given, 3, {"GrantsCited"}),
    (serve_unconfirmed, 3, {"ReadConfirmed"}),
    (count_any_confirmation, 3, {"ReadConfirmed"}),
    (read_what_is_not_committed, 3, {"ReadIndex"}),
]


# Likewise, in a cluster that makes images all the time.
IMAGE_FAULTS: list[tuple[Callable[[Patch], None], int, set[str]]] = [
    (make_images_of_uncommitted_entries, 3, {"ImageCommitted"}),
    (forget_images, 3, {"NothingForgotten"}),
    (install_what_a_deposed_leader_sends, 3, {"InstallCited"}),
]


class Watched(Simulation):
    """A simulation that also looks inside: has anything happened that must not?"""

    def __init__(
        self, directory: Path, size: int, seed: int, change_every: float | None = None, image_every: float | None = None
    ) -> None:
        self.leader_of: dict[int, str] = {}
        self.committed: list[Entry] = []
        self.unsafe = False
        super().__init__(
            directory, size, seed=seed, faults=HARSH, write_every=0.05, change_every=change_every,
            image_every=image_every,
        )  # fmt: skip

    def _after_step(self) -> None:
        super()._after_step()
        for name, process in self.cluster.running.items():
            raft = process.frontend.raft
            if raft.role is Role.LEADER:
                self.unsafe |= self.leader_of.setdefault(raft.term, name) != name
            before = self.committed[: raft.log.base.last]
            log = [*before, *raft.log.between(raft.log.base.last + 1, raft.commit_index)]
            shared = min(len(log), len(self.committed))
            self.unsafe |= bool(shared) and log[shared - 1].digest != self.committed[shared - 1].digest
            if len(log) > len(self.committed):
                self.committed = list(log)


def run(
    directory: Path, size: int, seed: int, change_every: float | None = None, image_every: float | None = None
) -> bool:
    """Half a minute of a cluster's life; says whether it was unsafe. A node that trips over the fault ends the run."""
    simulation = Watched(directory, size, seed, change_every, image_every)
    with suppress(LogDiverged, NotLeader, AssertionError, IndexError):
        simulation.run(lambda: simulation.now > 30 or simulation.unsafe)
    simulation.cluster.close()
    return simulation.unsafe


def assert_refused(
    fault: Callable[[Patch], None],
    rules: set[str],
    directory: Path,
    monkeypatch: Patch,
    life: Callable[[Path, int], bool],
) -> None:
    """Within SEEDS lives of a cluster with the fault a rule is named, and none that was unsafe is accepted."""
    named = []
    for seed in range(SEEDS):
        with monkeypatch.context() as patch:
            fault(patch)
            unsafe = life(directory / str(seed), seed)
        result = replay(directory / str(seed))
        if unsafe:
            assert result.verdict is Verdict.VIOLATION, f"seed {seed} was unsafe and accepted"
        if result.violation:
            named.append(result.violation.rule)
            if rules & set(named):
                return
    pytest.fail(f"{fault.__doc__} Within {SEEDS} seeds only {set(named) or 'nothing'} was named, not {rules}")


ALL = [*((*fault, None) for fault in FAULTS), *((*fault, 0.3) for fault in IMAGE_FAULTS)]


@pytest.mark.parametrize(("fault", "size", "rules", "image_every"), ALL, ids=[f.__name__ for f, *_ in ALL])
def test_a_fault_is_refused(
    fault: Callable[[Patch], None],
    size: int,
    rules: set[str],
    image_every: float | None,
    tmp_path: Path,
    monkeypatch: Patch,
) -> None:
    assert_refused(
        fault, rules, tmp_path, monkeypatch, lambda directory, seed: run(directory, size, seed, image_every=image_every)
    )


@pytest.mark.parametrize("seed", range(SEEDS))
def test_without_a_fault_nothing_is_refused(seed: int, tmp_path: Path) -> None:
    assert not run(tmp_path, 3, seed, image_every=1.0 if seed % 2 else None)
    assert_holds(tmp_path)
