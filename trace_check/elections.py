"""Judges what a term's election and its leadership leave behind: Campaign, Grant, Win, Activate, Lose, Transfer."""

from __future__ import annotations

from trace_check.configuration import Configuration
from trace_check.nodes import Cluster, Node
from trace_check.read import Source
from trace_check.schema import Event, Reference
from trace_check.tree import Leader
from trace_check.verdict import Refused


class Elections:
    """Judges votes by evidence, then steps Ballot, Fencing and Frontend."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def campaign(self, source: Source, event: Event) -> None:
        """A node votes for itself and asks for votes."""
        cluster = self._cluster
        node = cluster.enter(source, event["term"])
        cluster.may_stand(node, node.term)
        self._vote(node, event, node.name)
        configuration = cluster.same_voters(event["voters"], node.end, node.end_term)
        cluster.is_voter(node.name, configuration, "a candidacy")
        cluster.frontend(node, "Campaign")
        cluster.ballots.campaign(node.term, node.name, configuration.voters)
        electorate = cluster.electorate
        cluster.ballots.forget_before(min(cluster.nodes[v].term if v in cluster.nodes else 0 for v in electorate))

    def grant(self, source: Source, event: Event) -> None:
        """A node votes for another."""
        cluster = self._cluster
        node = cluster.enter(source, event["term"])
        candidate = event["candidate"]
        asked = cluster.cited("CampaignHeard", source, event["campaign"], "Campaign", node.term)
        if event["campaign"][0] != candidate:
            raise Refused("CampaignHeard", f"a Campaign of {candidate}", f"one of {event['campaign'][0]}")
        self._vote(node, event, candidate)
        self._up_to_date(node, candidate, asked)
        cluster.ballots.vote(node.term, node.name, candidate)

    def _up_to_date(self, node: Node, candidate: str, campaign: Event) -> None:
        if (campaign["last_term"], campaign["last"]) < (node.end_term, node.end):
            raise Refused(
                "UpToDate",
                f"a candidate whose log ends no earlier than {node.name}'s, {node.end} of term {node.end_term}",
                f"{candidate}'s, which ends at {campaign['last']} of term {campaign['last_term']}",
            )

    def _vote(self, node: Node, event: Event, candidate: str) -> None:
        if node.term == node.vote_term:
            before = f"no vote, as {node.name} has voted for {node.vote} in term {node.term}"
            raise Refused("VoteOnce", before, f"one for {candidate}")
        named = event["last"], event["last_term"]
        gave_up = node.may_give_up and named == (node.stored, node.stored_term)
        if named != (node.end, node.end_term) and not gave_up:
            raise Refused(
                "TruePosition",
                f"the end of {node.name}'s log, {node.end} of term {node.end_term}",
                f"{event['last']} of term {event['last_term']}",
            )
        node.end, node.end_term = named
        node.may_give_up = False
        node.vote_term, node.vote = node.term, candidate

    def win(self, source: Source, event: Event) -> None:
        """A node has a quorum of votes."""
        cluster = self._cluster
        tree = cluster.tree
        term = event["term"]
        node = cluster.enter(source, term)
        base, base_term = self._base(source, node, event["grants"])
        configurations = [cluster.configuration(base, base_term)]
        self._count(source, node, event["grants"], configurations[0][1])
        other = tree.leaders.get(term)
        if other is None:
            self._complete(node.name, base, base_term, term)
        cluster.ballots.win(term, node.name)
        if other is not None:
            # VoteOnce and ElectionQuorum leave no room for this; but the log tree relies on it.
            raise Refused("ElectionQuorum", f"one winner in term {term}, {other.node}", f"{node.name} as well")
        leader = Leader(
            term, node.name, source, source.consumed, base, base_term, base + 1, base, configurations,
            append_label=cluster.ballots.append_label(term, node.name),
        )
        leader.win_code = leader.append_code = source.base + source.consumed
        cluster.fencing.step(leader, "Claim")
        cluster.frontend(node, "Win")
        tree.add(leader)
        node.leads = leader

    def _base(self, source: Source, node: Node, grants: list[Reference]) -> tuple[int, int]:
        """The end of the candidate's log by its Campaign, which must be among the votes counted."""
        for reference in grants:
            if reference[0] == node.name:
                if reference[1] != source.inc:
                    mine = f"the Campaign of this incarnation, {source.inc}"
                    raise Refused("GrantsCited", mine, f"one of {reference[1]}")
                own = self._cluster.cited("GrantsCited", source, reference, "Campaign", node.term)
                return own["last"], own["last_term"]
        raise Refused("GrantsCited", f"the Campaign of {node.name} among the votes counted", "only those of others")

    def _count(self, source: Source, node: Node, grants: list[Reference], configuration: Configuration) -> None:
        """The guards on the votes counted."""
        guard = "GrantsCited"
        counted: set[str] = set()
        for reference in grants:
            voter: str = reference[0]
            if voter != node.name:
                grant = self._cluster.cited(guard, source, reference, "Grant", node.term)
                if grant["candidate"] != node.name:
                    raise Refused(guard, f"a vote for {node.name}", f"{voter}'s vote for {grant['candidate']}")
            self._cluster.is_voter(voter, configuration, "a vote")
            if voter in counted:
                raise Refused(guard, "votes of distinct voters", f"two of {voter}")
            counted.add(voter)
        if len(counted) < configuration.majority:
            raise Refused(
                "ElectionQuorum",
                f"{configuration.majority} votes or more, of {len(configuration.voters)} voters",
                f"{len(counted)}: {', '.join(sorted(counted))}",
            )

    def _complete(self, name: str, base: int, base_term: int, term: int) -> None:
        tree = self._cluster.tree
        last, last_term = tree.committed_before(term)
        if not tree.is_prefix(last, last_term, base, base_term):
            raise Refused(
                "LeaderCompleteness",
                f"entry {last} of term {last_term}, which is committed, in the log of term {term}'s winner",
                f"the log of {name}, which ends at {base} of term {base_term}",
            )

    def activate(self, source: Source, event: Event) -> None:
        """A node becomes LEADER."""
        cluster = self._cluster
        node = cluster.enter(source, event["term"])
        cluster.frontend(node, "Activate")
        leader = cluster.leads(node, node.term, "LeaderAppends", "Activate")
        cluster.fencing.step(leader, "Activate")
        if event["epoch"] != leader.epoch:
            appended = f"epoch {leader.epoch}, as appended in term {node.term}"
            raise Refused("EpochConsecutive", appended, f"epoch {event['epoch']}")
        leader.activated_ts = source.ts(source.consumed)

    def lose(self, source: Source, event: Event) -> None:
        """A node stops leading."""
        cluster = self._cluster
        node = cluster.enter(source, event["term"])
        cluster.frontend(node, "Lose")
        cluster.leads(node, node.term, "LeaderAppends", "Lose")
        cluster.lose(node, source.ts(source.consumed))

    def transfer(self, source: Source, event: Event) -> None:
        """A frontend that does not lead changes its type."""
        cluster = self._cluster
        node = cluster.enter(source, event["term"])
        if event["to"] == "OBSERVER":
            self._no_voter(source, node)
        cluster.frontend(node, f"Transfer({event['to']})")

    def _no_voter(self, source: Source, node: Node) -> None:
        """Guard SameConfiguration for an OBSERVER: it has no vote by its log, or by what it has heard and may have."""
        cluster, tree = self._cluster, self._cluster.tree
        index, configuration = cluster.configuration(node.end, node.end_term)
        may_go_by = [configuration]
        leader = tree.leaders.get(node.term)
        if leader is not None and (reach := cluster.reach(source, leader)) >= 0:
            common = tree.at(tree.common(node.end, node.end_term, leader.last, leader.term), leader.term)
            if index > common[0]:
                may_go_by.append(cluster.configuration(*common)[1])
            for first, last, run in tree.runs(*common, leader.last, leader.term):
                may_go_by += [c for i, c in run.configurations if first <= i <= min(last, reach)]
        if all(node.name in configuration.voters for configuration in may_go_by):
            raise Refused("SameConfiguration", f"no OBSERVER, as {node.name} is a voter", "OBSERVER")
