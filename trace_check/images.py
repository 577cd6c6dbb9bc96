"""Judges images: Image, Install, the image a Start shows, and what a group was founded from. spec/Images.tla says why.

An image is the state after the entries up to a position. An entry may be given up for another one, an image cannot: so
it holds nothing but what is committed, and who has it knows that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trace_check.configuration import configuration
from trace_check.nodes import Cluster, Node
from trace_check.read import Source, Window
from trace_check.schema import VERSION, Event
from trace_check.tree import Leader, Position
from trace_check.verdict import Refused

if TYPE_CHECKING:
    from trace_check.logs import Logs


def image_shown(event: Event) -> Position:
    """The position of the image that an Image, an Install or a Start shows; (0, 0) if that Start has none."""
    if event["event"] == "Start":
        last, last_term, *_ = event.get("image", (0, 0))
        return last, last_term
    return event["last"], event["last_term"]


class Images:
    """Judges Image and Install."""

    def __init__(self, cluster: Cluster, logs: Logs) -> None:
        self._cluster = cluster
        self._logs = logs

    def image(self, source: Source, event: Event) -> None:
        """A node has written an image of what it knows committed."""
        cluster, tree = self._cluster, self._cluster.tree
        node = cluster.enter(source, event["term"])
        last, last_term = image_shown(event)
        found = f"one of {last}, the last of term {last_term}"
        if not tree.has(last, last_term, node.committed, node.committed_term):
            ends = f"which ends at {node.committed} of term {node.committed_term}"
            raise Refused("ImageCommitted", f"an image of what {node.name} knows committed, {ends}", found)
        # Who has lost a term may have given up what it had committed by the Stores of others alone.
        if not tree.is_prefix(last, last_term, node.end, node.end_term):
            ends = f"which ends at {node.end} of term {node.end_term}"
            raise Refused("ImageCommitted", f"an image of {node.name}'s own log, {ends}", found)
        if last < node.image:
            more = f"an image of {node.image} entries or more, as {node.name} has already"
            raise Refused("ImageCommitted", more, f"one of {last}")
        cluster.digests.check(last, last_term, event["digest"])
        if not tree.is_prefix(last, last_term, node.stored, node.stored_term):
            node.stored, node.stored_term = last, last_term
            if node.leads is not None:
                node.stored_under = node.term
        node.image, node.image_term = last, last_term

    def install(self, source: Source, event: Event) -> None:
        """A node has taken an image of its leader's in place of its log, as far as the image reaches."""
        cluster, tree = self._cluster, self._cluster.tree
        term = event["term"]
        node = cluster.enter(source, term)
        last, last_term = image_shown(event)
        leader = self._cited(source, node, event)
        if not tree.is_prefix(last, last_term, leader.last, term):
            whose = f"an image of the log of {leader.node}, which ends at {leader.last} of term {term}"
            raise Refused("InstallCited", whose, f"one of {last}, the last of term {last_term}")
        if last < node.image:
            more = f"an image of {node.image} entries or more, as {node.name} has already"
            raise Refused("ImageCommitted", more, f"one of {last}")
        self._logs.gone(node, leader, last, cluster.reach(source, leader))
        cluster.digests.check(last, last_term, event["digest"])
        self._take_over(node, last, last_term, term)

    def _cited(self, source: Source, node: Node, event: Event) -> Leader:
        """Guard InstallCited: T's leader, whose event shows the image."""
        guard, term, reference = "InstallCited", event["term"], event["image"]
        leader = self._cluster.tree.leaders.get(term)
        own = leader is not None and leader.node == node.name
        if leader is None or own or self._cluster.reach(source, leader) < 0:
            found = f"{node.name} itself" if own else f"{node.name}, which has not heard of one"
            raise Refused(guard, f"who follows the winner of term {term}", found)
        shown = self._cluster.cited(guard, source, reference, "Start", None, "Image", "Install")
        if reference[:2] != [leader.node, leader.source.inc]:
            whose = f"an image of {leader.source}, which leads term {term}"
            raise Refused(guard, whose, f"one of {reference[0]} {reference[1]}")
        theirs = list(shown.get("image", (0, 0, ""))) if shown["event"] == "Start" else _as_shown(shown)
        if theirs != _as_shown(event):
            raise Refused(guard, f"the image {theirs}, as {leader.node} showed it", f"{_as_shown(event)}")
        return leader

    def _take_over(self, node: Node, last: int, last_term: int, term: int) -> None:
        tree = self._cluster.tree
        if not tree.is_prefix(last, last_term, node.stored, node.stored_term):
            # What it has appended as a leader and not stored it may have kept, if the image lies within.
            if not tree.is_prefix(last, last_term, node.end, node.end_term):
                node.end, node.end_term, node.may_give_up = last, last_term, False
            node.stored, node.stored_term, node.stored_under = last, last_term, term
        node.follows = term
        node.image, node.image_term = last, last_term
        if last > node.committed:
            node.committed, node.committed_term = last, last_term


def _as_shown(event: Event) -> list[int | str]:
    return [event["last"], event["last_term"], event["digest"]]


# --- what a Start shows ---------------------------------------------------------------------------------------------


def not_committed(cluster: Cluster, node: Node, event: Event) -> str | None:
    """The image of a Start whose log is known, as long as no Commit reaches it that has been judged."""
    tree = cluster.tree
    last, last_term = image_shown(event)
    known = tree.has(last, last_term, event["last"], event["last_term"])
    if known and last > tree.committed and tree.is_prefix(tree.committed, tree.committed_term, last, last_term):
        return f"a Commit up to {last}, of which {node.name} found an image on its disk"
    return None


def start(cluster: Cluster, node: Node, event: Event) -> None:
    """Guards NothingForgotten, ImageCommitted and SameFounding for the image of a Start whose log is in order."""
    tree = cluster.tree
    last, last_term = image_shown(event)
    if last < node.image:
        had = f"an image of {node.image} entries or more, as {node.name} had"
        raise Refused("NothingForgotten", had, f"one of {last}")
    if event["last"] and last < tree.root:
        raise Refused("SameFounding", f"an image that reaches {tree.root}, where all logs begin", f"one of {last}")
    if not (
        tree.has(last, last_term, event["last"], event["last_term"])
        and tree.is_prefix(last, last_term, tree.committed, tree.committed_term)
    ):
        raise Refused(
            "ImageCommitted",
            f"an image of what is committed, and of {node.name}'s own log, which ends at {event['last']} of term "
            f"{event['last_term']}",
            f"one of {last}, the last of term {last_term}",
        )
    if last:
        *_, digest = event.get("image", [""])
        cluster.digests.check(last, last_term, digest)
    node.image, node.image_term = last, last_term


# --- founding -------------------------------------------------------------------------------------------------------


def founds(node: Node, event: Event) -> bool:
    """Whether this is the first Start of one who was set up with the state of another group, and nothing more."""
    if node.started or "founded" not in event:
        return False
    last, last_term, *_ = event["founded"]
    return (event["last"], event["last_term"], event["term"], event["vote"]) == (last, last_term, last_term, None)


def found(cluster: Cluster, node: Node, event: Event) -> None:
    """Guard SameFounding for a Start. The first one of a founder says where all logs begin."""
    guard, founded = "SameFounding", event.get("founded")
    if node.name not in cluster.founding.members:
        if founded is not None:
            raise Refused(guard, f"nothing founded by {node.name}, which the group was not set up with", f"{founded}")
        return
    if cluster.founded is None:
        cluster.founded = founded or []
        if founded is not None:
            _begin(cluster, *founded)
    if cluster.founded != (founded or []):
        expected = f"{cluster.founded}, as another founder showed" if cluster.founded else "nothing founded, as before"
        raise Refused(guard, expected, f"{founded}")
    if founded is None or node.started:
        return
    last, last_term, digest, _ = founded
    if not founds(node, event) or event.get("image") != [last, last_term, digest]:
        raise Refused(
            guard,
            f"a first Start with the image {founded[:3]} and nothing else, in term {last_term}, without a vote",
            f"a log that ends at {event['last']} of term {event['last_term']}, in term {event['term']}, vote "
            f"{event['vote']}, image {event.get('image', 'none')}",
        )
    if "members" in event and configuration(event["members"]) != cluster.founding:
        raise Refused(guard, "the members that another founder showed", f"{event['members']}")
    node.stored, node.stored_term, node.stored_under = last, last_term, last_term


def _begin(cluster: Cluster, last: int, last_term: int, digest: str, epoch: int) -> None:
    nobody = Source(-1, {"v": VERSION, "cluster": "", "node": "", "inc": "", "event": "Start"}, Window())
    run = Leader(
        last_term,
        "another group",
        nobody,
        0,
        last - 1,
        0,
        last,
        last,
        [(0, cluster.founding)],
        epoch=epoch,
        over=True,
        # Nobody can have heard of its Win.
        win_code=1 << 62,
        append_code=1 << 62,
    )
    cluster.tree.found(run)
    cluster.digests.root = digest
    cluster.digests.learn(last, last_term, digest)
