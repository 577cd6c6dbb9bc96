"""The smallest adapter there is, for a log of elections of one's own; docs/adapters.md goes through it line by line."""

from __future__ import annotations

from trace_check.adapters.judge import Judge
from trace_check.adapters.records import Record

NOT_CHECKED = (
    "logs, commitment and everything that depends on them: the trace is about elections only",
    "crashes: a node that comes back is taken to know everything it knew",
)


class Elections:
    """Lines like `{"at": "b", "term": 3, "what": "votes", "for": "a"}`; see docs/adapters.md."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def event(self, line: Record) -> tuple[str, str] | None:
        """The name and the node of the event."""
        return line.text("what"), line.text("at")

    def judge(self, line: Record) -> None:
        """One event. Raises BadInput, Refused, Incomplete."""
        judge, node, term = self._judge, line.text("at"), line.number("term")
        if node not in judge.group.members:
            judge.start(node, 0, None, 0, 0)
        match line.text("what"):
            case "stands":
                judge.enter(node, term)
                judge.campaign(node, (line.names("voters"),))
            case "votes":
                judge.enter(node, term)
                judge.grant(node, term, line.text("for"), judge.standing(node))
            case "leads":
                judge.enter(node, term)
                for voter in sorted(line.names("votes")):
                    judge.heard_grant(node, term, voter)
                judge.win(node, 0)
            case "stops":
                judge.lose(node)
            case other:
                raise line.bad("what", f"stands, votes, leads or stops, not {other!r}")
