"""CCF's consensus traces, as its build with CCF_RAFT_TRACING writes them (docs/adapters.md has the table)."""

from __future__ import annotations

from trace_check.adapters.judge import Judge
from trace_check.adapters.members import Voters
from trace_check.adapters.records import Record
from trace_check.tree import Position

NOT_CHECKED = (
    "restarts and what is on disk (SameDisk, NothingForgotten, Store after the sync): CCF's nodes do not come back",
    "contents of entries and signatures: logs are compared by the views of their entries",
    "epochs (EpochConsecutive): the first entry of a leader's own view stands for the epoch record",
    "that a leader appends nothing of its own before that record is committed: CCF may",
    "frontend types (Transfer, Activate, Exit, Ack in Frontend): a node starts, campaigns, wins and loses",
    "the first leader's election: it makes itself the leader of the first view, and is taken for a group of its own",
    "votes of which no candidate has heard, before send_request_vote_response was traced (2026)",
    "whether a change of membership, or a retirement, is a right one: quorums are counted in the active configurations",
    "pre-votes, proposals to stand for election, clients: they change nothing that is judged",
)


_ROLES = {"None", "Leader", "Follower", "Candidate", "PreVoteCandidate"}


class Ccf:
    """Tells the judge what each line of a CCF trace says."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._voters: dict[str, Voters] = {}
        # By voter and view: who asked last for its vote, and where its log ended then.
        self._asked: dict[tuple[str, int, str], Position | None] = {}
        # The entry a leader wrote down last: that comes before it is in the log, with other lines in between.
        self._appending: dict[str, int] = {}

    def event(self, line: Record) -> tuple[str, str] | None:
        """The name and the node of the event; None for a line of something else."""
        if line.text("tag", "") != "raft_trace" or not line.has("msg"):
            return None
        message = line.record("msg")
        return message.text("function"), message.record("state").text("node_id")

    def judge(self, line: Record) -> None:
        """One event. Raises BadInput, Refused, Incomplete."""
        judge, event = self._judge, line.record("msg")
        name, state = event.text("function"), event.record("state")
        node, view, size = state.text("node_id"), state.number("current_view"), state.number("last_idx")
        committed, role = state.number("commit_idx"), state.text("leadership_state")
        if role not in _ROLES:
            raise state.bad("leadership_state", f"one of {', '.join(sorted(_ROLES))}")
        leading = role == "Leader"
        if not judge.group.members and name in ("become_leader", "bootstrap"):
            self._genesis(node, view, size, event.record("args").number("idx") if name == "bootstrap" else committed)
            return
        if node not in judge.group.members:
            judge.start(node, view, None, size, committed)
        if not leading:
            leads, appended = judge.group.member(node).leads, self._appending.pop(node, 0)
            if leads is not None:
                judge.logs.append(node, max(appended, leads.last))
            judge.lose(node)
        judge.enter(node, view)
        if event.has("configurations"):
            self._voters[node] = tuple(each.names("nodes") for each in event.records("configurations"))
        if name == "become_candidate":
            judge.campaign(node, self._voters.get(node, ()), self._committable(state))
            judge.heard_grant(node, view, node)
        elif name == "become_leader":
            judge.logs.truncate(node, size)
            judge.win(node, size)
        if name == "replicate":
            self._appending[node] = event.number("seqno")
        if leading:
            judge.logs.append(node, size)
        else:
            judge.logs.truncate(node, size)
        if event.has("packet"):
            self._packet(name, node, event)
        elif name == "execute_append_entries_sync":
            judge.logs.store(node, size + 1, size + 1)
        self._commit(node, event.record("args").number("idx") if name == "commit" else committed)

    def _genesis(self, node: str, view: int, size: int, committed: int) -> None:
        """The first node makes itself the leader of the first view, with what it has committed by then."""
        judge = self._judge
        judge.start(node, 0, None, size, committed)
        judge.enter(node, view)
        judge.campaign(node, (frozenset({node}),))
        judge.heard_grant(node, view, node)
        judge.win(node, size)

    def _committable(self, state: Record) -> int:
        """The last entry that may be committed: a signature, or what is committed already."""
        indices = state.numbers("committable_indices")
        return max(indices[-1] if indices else 0, state.number("commit_idx"))

    def _packet(self, name: str, node: str, event: Record) -> None:
        judge, packet = self._judge, event.record("packet")
        view, state = packet.number("term"), event.record("state")
        pre_vote = "pre_vote" in packet.text("msg") or packet.text("election_type", "") == "PreVote"
        if name == "send_request_vote" and not pre_vote:
            last, last_term = packet.number("last_committable_idx"), packet.number("term_of_last_committable_idx")
            judge.claim(node, last, last_term)
        elif name == "recv_request_vote" and not pre_vote:
            asked = node, view, event.text("from_node_id")
            self._asked[asked] = judge.standing(node, self._committable(state))
        elif name == "send_request_vote_response" and not pre_vote and packet.flag("vote_granted"):
            judge.grant(node, view, event.text("to_node_id"), judge.standing(node, self._committable(state)))
        elif name == "recv_request_vote_response" and not pre_vote and packet.flag("vote_granted"):
            voter = event.text("from_node_id")
            if (voter, view, node) in self._asked:
                judge.grant(voter, view, node, self._asked.pop((voter, view, node)))
            judge.heard_grant(node, view, voter)
        elif name in ("send_append_entries", "recv_append_entries"):
            after = packet.number("prev_idx"), packet.number("prev_term")
            sender = node if name.startswith("send") else event.text("from_node_id")
            judge.logs.offers(sender, packet.number("term"), after, packet.number("idx"))
        elif name == "send_append_entries_response" and packet.text("success") == "OK":
            judge.logs.store(node, packet.number("last_log_idx"), state.number("last_idx"))
        elif name == "recv_append_entries_response" and packet.text("success") == "OK":
            judge.logs.heard_store(node, view, event.text("from_node_id"), packet.number("last_log_idx"))

    def _commit(self, node: str, committed: int) -> None:
        judge = self._judge
        member = judge.group.member(node)
        if committed != member.committed:
            if member.leads is not None:
                # A leader counts its own log as it is.
                judge.logs.store(node, member.end, member.end)
                judge.logs.heard_store(node, member.term, node, member.end)
            judge.logs.commit(node, committed, self._voters.get(node, ()))
