"""etcd-raft's traces, as its build with the tag `with_tla` writes them (docs/adapters.md has the table)."""

from __future__ import annotations

from trace_check.adapters.judge import Judge
from trace_check.adapters.records import Record

NOT_CHECKED = (
    "what is on disk (SameDisk, Store after the sync): votes and entries count as durable once they are heard of",
    "contents of entries: logs are compared by the terms of their entries",
    "epochs (EpochConsecutive): the first entry of a leader's own term stands for the epoch record",
    "that a leader appends nothing of its own before that record is committed: etcd-raft may",
    "frontend types (Transfer, Activate, Exit, Ack in Frontend): a node starts, campaigns, wins, loses and crashes",
    "whether a change of membership is a right one: quorums are counted among the voters the acting node names",
    "pre-votes, leader transfer, reads, clients: the trace does not have them",
)
_NOBODY = "0"
_ROLES = {"StateFollower", "StateCandidate", "StateLeader", "StatePreCandidate"}


class EtcdRaft:
    """Tells the judge what each line of an etcd-raft trace says."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        # Nodes whose InitState has come, which precedes what they found on disk; those that have heard of nobody yet.
        self._starting: set[str] = set()
        self._alone: set[str] = set()
        self._snapshots: dict[str, int] = {}

    def event(self, line: Record) -> tuple[str, str] | None:
        """The name and the node of the event; None for a line of something else."""
        if not line.has("event") or line.text("tag", "") != "trace":
            return None
        event = line.record("event")
        return event.text("name"), event.text("nid")

    def judge(self, line: Record) -> None:
        """One event. Raises BadInput, Refused, Incomplete."""
        judge, event = self._judge, line.record("event")
        name, node = event.text("name"), event.text("nid")
        state = event.record("state")
        term, vote, committed = state.number("term"), state.text("vote"), state.number("commit")
        role, size = event.text("role"), event.number("log")
        if role not in _ROLES:
            raise event.bad("role", f"one of {', '.join(sorted(_ROLES))}")
        leading = role == "StateLeader"
        if name == "InitState":
            self._starting.add(node)
            return
        if node in self._starting:
            if name == "BecomeFollower":
                self._starting.discard(node)
                self._alone.add(node)
                judge.start(node, term, None if vote == _NOBODY else vote, size, committed)
            return
        if not leading:
            judge.lose(node)
        judge.enter(node, term)
        if name == "BecomeCandidate":
            judge.campaign(node, event.lists_of_names("conf"))
        elif name == "BecomeLeader":
            judge.win(node, size)
        elif name == "ApplyConfChange":
            self._configured(node, size, committed)
        judge.shows_vote(node, term, None if vote == _NOBODY else vote)
        if leading:
            judge.logs.append(node, size)
        if event.has("msg"):
            self._message(name, node, size, event.record("msg"))
        judge.logs.ends(node, size)
        if committed != judge.group.member(node).committed:
            judge.logs.commit(node, committed, event.lists_of_names("conf"))

    def _configured(self, node: str, size: int, committed: int) -> None:
        """A log that is there all at once: the one with which all nodes began, or a snapshot's."""
        member = self._judge.group.member(node)
        if committed > member.committed:
            if node in self._alone and not member.end:
                self._judge.bootstrap(node, size)
            elif self._snapshots.get(node) == committed:
                self._judge.logs.store(node, committed, size)

    def _message(self, name: str, node: str, size: int, message: Record) -> None:
        judge, kind, term = self._judge, message.text("type"), message.number("term")
        sends = name.startswith("Send")
        if message.text("from" if sends else "to") != node:
            raise message.bad("from" if sends else "to", f"{node!r}, whose line this is")
        if not sends:
            self._alone.discard(node)
        index, last_term = message.number("index"), message.number("logTerm")
        if kind == "MsgVote" and sends:
            judge.claim(node, index, last_term)
        elif kind in ("MsgApp", "MsgHeartbeat", "MsgSnap"):
            entries = message.number("entries")
            judge.logs.offers(message.text("from"), term, (index, last_term), index + entries)
            if kind == "MsgSnap" and not sends:
                self._snapshots[node] = entries
        elif kind == "MsgVoteResp" and not message.flag("reject"):
            if sends:
                judge.grant(node, term, message.text("to"), judge.standing(node))
            else:
                judge.heard_grant(node, term, message.text("from"))
        # A response without an index only says that the sender is in a later term.
        elif kind == "MsgAppResp" and not message.flag("reject") and index:
            if sends:
                judge.logs.store(node, index, size)
            else:
                judge.logs.heard_store(node, term, message.text("from"), index)
