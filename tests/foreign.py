"""Traces in other systems' formats, made by hand: a small group of nodes is told what to do and writes it down."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Line = dict[str, Any]


@dataclass
class Node:
    """One node: what its lines show, and the terms of its entries."""

    name: str
    term: int = 0
    vote: str | None = None
    committed: int = 0
    role: str = "Follower"
    log: list[int] = field(default_factory=list)
    heard: dict[str, int] = field(default_factory=dict)


class Group:
    """What both formats share: the protocol, step by step as the test says, right or wrong."""

    def __init__(self, names: str) -> None:
        self.nodes = {name: Node(name) for name in names.split()}
        self.lines: list[Line] = []

    def write(self, path: Path) -> Path:
        """The lines so far, in a file."""
        path.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        return path

    def elect(self, name: str, voters: str) -> None:
        """A node stands for election in the next term and wins with the votes of itself and these."""
        self.stand(name)
        for voter in voters.split():
            self.vote(voter, name)
        self.lead(name)

    def settle(self, name: str, count: int, followers: str) -> None:
        """A leader appends entries, replicates them, commits them, and its followers learn of it."""
        self.append(name, count)
        for follower in followers.split():
            self.replicate(name, follower)
        self.commit(name)
        for follower in followers.split():
            self.learn(follower, name)

    def stand(self, name: str) -> None:
        node = self.nodes[name]
        node.term, node.vote, node.role, node.heard = node.term + 1, name, "Candidate", {}
        self.stood(node)

    def vote(self, name: str, candidate: str) -> None:
        node, asks = self.nodes[name], self.nodes[candidate]
        self.asked(node, asks)
        if node.term < asks.term:
            node.term, node.vote, node.role = asks.term, None, "Follower"
            self.follows(node)
        self.granted(node, asks)
        node.vote = candidate
        self.heard_vote(asks, node)

    def lead(self, name: str) -> None:
        node = self.nodes[name]
        node.role = "Leader"
        self.leads(node)

    def append(self, name: str, count: int = 1) -> None:
        node = self.nodes[name]
        for _ in range(count):
            self.appends(node)
            node.log.append(node.term)
            self.appended(node)

    def replicate(self, name: str, follower: str) -> None:
        leader, node = self.nodes[name], self.nodes[follower]
        self.received(node, leader)
        if node.term < leader.term:
            node.term, node.vote, node.role = leader.term, None, "Follower"
            self.follows(node)
        if node.log[: len(leader.log)] != leader.log:
            node.log = list(leader.log)
        self.stored(node, leader)
        leader.heard[follower] = len(leader.log)
        self.heard_store(leader, node)

    def commit(self, name: str, upto: int | None = None) -> None:
        node = self.nodes[name]
        upto = len(node.log) if upto is None else upto
        self.commits(node, upto)
        node.committed = upto

    def learn(self, follower: str, name: str, upto: int | None = None) -> None:
        node, leader = self.nodes[follower], self.nodes[name]
        upto = min(leader.committed, len(node.log)) if upto is None else upto
        self.commits(node, upto)
        node.committed = upto

    def step_down(self, name: str, term: int) -> None:
        node = self.nodes[name]
        node.term, node.vote, node.role = term, None if term > node.term else node.vote, "Follower"
        self.follows(node)

    # What each format has to write down.
    def stood(self, node: Node) -> None: ...
    def asked(self, node: Node, candidate: Node) -> None: ...
    def follows(self, node: Node) -> None: ...
    def granted(self, node: Node, candidate: Node) -> None: ...
    def heard_vote(self, candidate: Node, voter: Node) -> None: ...
    def leads(self, node: Node) -> None: ...
    def appends(self, node: Node) -> None: ...
    def appended(self, node: Node) -> None: ...
    def received(self, node: Node, leader: Node) -> None: ...
    def stored(self, node: Node, leader: Node) -> None: ...
    def heard_store(self, leader: Node, node: Node) -> None: ...
    def commits(self, node: Node, upto: int) -> None: ...


class Etcd(Group):
    """As etcd-raft writes it. All nodes begin with one entry for each, committed."""

    def __init__(self, names: str, given: bool = True) -> None:
        super().__init__(names)
        for node in self.nodes.values():
            self.start(node)
            if given:
                node.term = 1
                self._line(node, "BecomeFollower")
                node.log, node.committed = [1] * len(self.nodes), len(self.nodes)
                self._line(node, "ApplyConfChange")

    def start(self, node: Node) -> None:
        """A process starts with what the node has."""
        node.role, kept = "Follower", (node.term, node.vote, node.committed)
        node.term, node.vote, node.committed = 0, None, 0
        self._line(node, "InitState")
        node.term, node.vote, node.committed = kept
        self._line(node, "BecomeFollower")

    def _line(self, node: Node, name: str, **message: Any) -> None:
        event: Line = {
            "name": name,
            "nid": node.name,
            "state": {"term": node.term, "vote": node.vote or "0", "commit": node.committed},
            "role": f"State{node.role}",
            "log": len(node.log),
            "conf": [sorted(self.nodes), []],
        }
        if message:
            filling: Line = {"term": node.term, "entries": 0, "logTerm": 0, "index": 0, "commit": 0}
            event["msg"] = filling | {"vote": "0", "reject": False, "rejectHint": 0} | message
        self.lines.append({"level": "debug", "ts": len(self.lines) / 1000, "tag": "trace", "event": event})

    def stood(self, node: Node) -> None:
        self._line(node, "BecomeCandidate")
        self._line(node, "SendRequestVoteResponse", type="MsgVoteResp", **{"from": node.name, "to": node.name})
        for other in self.nodes:
            if other != node.name:
                self._line(node, "SendRequestVoteRequest", **self._request(node, other))
        self._line(node, "Ready")
        self._line(node, "ReceiveRequestVoteResponse", type="MsgVoteResp", **{"from": node.name, "to": node.name})

    def _request(self, node: Node, to: str) -> Line:
        last_term = node.log[-1] if node.log else 0
        return {"type": "MsgVote", "term": node.term, "from": node.name, "to": to} | {
            "index": len(node.log), "logTerm": last_term
        }

    def asked(self, node: Node, candidate: Node) -> None:
        self._line(node, "ReceiveRequestVoteRequest", **self._request(candidate, node.name))

    def follows(self, node: Node) -> None:
        self._line(node, "BecomeFollower")

    def granted(self, node: Node, candidate: Node) -> None:
        between = {"from": node.name, "to": candidate.name, "term": candidate.term}
        self._line(node, "SendRequestVoteResponse", type="MsgVoteResp", **between)

    def heard_vote(self, candidate: Node, voter: Node) -> None:
        self._line(voter, "Ready")
        between = {"from": voter.name, "to": candidate.name, "term": candidate.term}
        self._line(candidate, "ReceiveRequestVoteResponse", type="MsgVoteResp", **between)

    def leads(self, node: Node) -> None:
        self._line(node, "BecomeLeader")

    def appends(self, node: Node) -> None:
        self._line(node, "Replicate")

    def appended(self, node: Node) -> None:
        own = {"type": "MsgAppResp", "index": len(node.log), "from": node.name, "to": node.name}
        self._line(node, "SendAppendEntriesResponse", **own)
        self._line(node, "Ready")
        self._line(node, "ReceiveAppendEntriesResponse", **own)

    def received(self, node: Node, leader: Node) -> None:
        request = {"type": "MsgApp", "entries": len(leader.log), "from": leader.name, "to": node.name}
        self._line(leader, "SendAppendEntriesRequest", **request, commit=leader.committed)
        self._line(node, "ReceiveAppendEntriesRequest", **request | {"term": leader.term}, commit=leader.committed)

    def stored(self, node: Node, leader: Node) -> None:
        self._line(node, "SendAppendEntriesResponse", **self._response(node, leader))

    def heard_store(self, leader: Node, node: Node) -> None:
        self._line(leader, "ReceiveAppendEntriesResponse", **self._response(node, leader))

    def _response(self, node: Node, leader: Node) -> Line:
        between = {"from": node.name, "to": leader.name, "term": leader.term}
        return {"type": "MsgAppResp", "index": len(leader.log)} | between

    def commits(self, node: Node, upto: int) -> None:
        before, node.committed = node.committed, upto
        self._line(node, "Commit" if node.role == "Leader" else "Ready")
        node.committed = before


class Ccf(Group):
    """As CCF writes it: the first node leads view 2, alone, and takes in the others. Every entry is signed."""

    def __init__(self, names: str) -> None:
        super().__init__(names)
        first, *others = self.nodes.values()
        first.term, first.vote, first.role = 2, first.name, "Leader"
        for node in others:
            node.role = "None"
        self._line(first, "become_leader", configurations=[])
        self.append(first.name)
        self._line(first, "commit", configurations=self._configurations(first.name), args={"idx": 1})
        first.committed = 1

    def _configurations(self, *names: str) -> list[Line]:
        return [{"idx": 1, "nodes": {name: {"address": ":"} for name in names or self.nodes}, "rid": 1}]

    def _line(self, node: Node, function: str, **rest: Any) -> None:
        state = {
            "commit_idx": node.committed,
            "committable_indices": list(range(node.committed + 1, len(node.log) + 1)),
            "current_view": node.term,
            "last_idx": len(node.log),
            "leadership_state": node.role,
            "membership_state": "Active",
            "node_id": node.name,
        }
        message = {"function": function, "state": state} | rest
        self.lines.append({"h_ts": str(len(self.lines)), "tag": "raft_trace", "msg": message})

    def stood(self, node: Node) -> None:
        self._line(node, "become_candidate", configurations=self._configurations())
        for other in self.nodes:
            if other != node.name:
                self._line(node, "send_request_vote", packet=self._request(node), to_node_id=other)

    def _request(self, node: Node) -> Line:
        ends = {"last_committable_idx": len(node.log), "term_of_last_committable_idx": node.log[-1] if node.log else 0}
        return {"msg": "raft_request_vote", "term": node.term} | ends

    def asked(self, node: Node, candidate: Node) -> None:
        self._line(node, "recv_request_vote", packet=self._request(candidate), from_node_id=candidate.name)

    def follows(self, node: Node) -> None:
        self._line(node, "become_follower", configurations=self._configurations())

    def heard_vote(self, candidate: Node, voter: Node) -> None:
        packet = {"msg": "raft_request_vote_response", "term": candidate.term, "vote_granted": True}
        self._line(candidate, "recv_request_vote_response", packet=packet, from_node_id=voter.name)

    def leads(self, node: Node) -> None:
        self._line(node, "become_leader", configurations=self._configurations())

    def appends(self, node: Node) -> None:
        self._line(node, "replicate", view=node.term, seqno=len(node.log) + 1, globally_committable=True)

    def received(self, node: Node, leader: Node) -> None:
        packet = {"msg": "raft_append_entries", "term": leader.term, "idx": len(leader.log)}
        packet |= {"prev_idx": 0, "prev_term": 0}
        self._line(leader, "send_append_entries", packet=packet, to_node_id=node.name)
        self._line(node, "recv_append_entries", packet=packet, from_node_id=leader.name)

    def stored(self, node: Node, leader: Node) -> None:
        self._line(node, "send_append_entries_response", packet=self._response(leader), to_node_id=leader.name)

    def heard_store(self, leader: Node, node: Node) -> None:
        self._line(leader, "recv_append_entries_response", packet=self._response(leader), from_node_id=node.name)

    def _response(self, leader: Node) -> Line:
        kind = {"msg": "raft_append_entries_response", "success": "OK"}
        return kind | {"term": leader.term, "last_log_idx": len(leader.log)}

    def commits(self, node: Node, upto: int) -> None:
        self._line(node, "commit", configurations=self._configurations(), args={"idx": upto})
