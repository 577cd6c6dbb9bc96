"""Kinds of doctored traces: images, and where they are taken from (see doctor.py)."""

from __future__ import annotations

import random

from doctor import Event, Trace, doctored, name, other_digest, ref, voters


def _shown(t: Trace, node: str, before: Event | None = None) -> int:
    """How many entries the newest image covers that a node has shown, in all, or before an event."""
    lines = t.before(before) if before else [e for life in t.lives(node) for e in life]
    return max((t.image(e)[0] for e in lines), default=0)


@doctored
def image_of_more_than_is_known_committed(t: Trace, rng: random.Random) -> str | None:
    """An Image reaches further than what its node knows committed."""
    found = [e for e in t.node_events() if e["event"] not in ("Exit", "Lose")]
    line = rng.choice(found)
    last = t.committed(line) + 1
    return name(t.insert(line, "Image", last=last, last_term=max(1, line["term"]), digest="0123456789abcdef"))


@doctored
def image_shrinks(t: Trace, rng: random.Random) -> str | None:
    """An Image covers less than the one that its node had before."""
    found = [e for e in t.events("Image", "Install") if _shown(t, e["node"], e) > 1]
    if not found:
        return None
    line = rng.choice(found)
    line["last"] = _shown(t, line["node"], line) - 1
    return name(line)


@doctored
def image_has_another_digest(t: Trace, rng: random.Random) -> str | None:
    """An image has another digest than the leader named at its end, or than the one that is taken over."""
    ends = {(e["last"], e["term"]) for e in t.events("Append")}
    found = [e for e in t.events("Image") if (e["last"], e["last_term"]) in ends] + t.events("Install")
    if not found:
        return None
    line = rng.choice(found)
    line["digest"] = other_digest(line["digest"])
    return name(line)


@doctored
def start_without_its_image(t: Trace, rng: random.Random) -> str | None:
    """A node has lost the image that it has shown to have."""
    found = [e for e in t.events("Start") if "image" in e and _shown(t, e["node"], e)]
    if not found:
        return None
    line = rng.choice(found)
    del line["image"]
    return name(line)


@doctored
def start_with_an_older_image(t: Trace, rng: random.Random) -> str | None:
    """A node starts with an image that covers less than the one it has shown to have."""
    found = [e for e in t.events("Start") if _shown(t, e["node"], e) > 1]
    if not found:
        return None
    line = rng.choice(found)
    last = _shown(t, line["node"], line) - 1
    last_term = t.log((line["last"], line["last_term"]))[last - 1]
    line["image"] = [last, last_term, t.digests().get((last, last_term), "0123456789abcdef")]
    return name(line)


@doctored
def start_with_an_image_beyond_its_log(t: Trace, rng: random.Random) -> str | None:
    """An image covers more than its node's log has."""
    found = [e for e in t.events("Start") if e["last"]]
    if not found:
        return None
    line = rng.choice(found)
    line["image"] = [line["last"] + 1, line["last_term"], "0123456789abcdef"]
    return name(line)


@doctored
def image_is_not_the_leaders(t: Trace, rng: random.Random) -> str | None:
    """An Install cites an event of its leader that shows no image."""
    found = [(e, other) for e in t.events("Install") for other in t.file(t.cited(e["image"])) if not t.image(other)[0]]
    if not found:
        return None
    line, other = rng.choice(found)
    line["image"] = ref(other)
    return name(line)


@doctored
def image_is_anothers(t: Trace, rng: random.Random) -> str | None:
    """An Install cites the image of a node that does not lead."""
    found = [
        (e, other)
        for e in t.events("Install")
        for other in t.events("Image", "Install")
        if other["node"] not in (e["node"], e["image"][0])
    ]
    if not (choice := t.pick(rng, found)):
        return None
    line, other = choice
    t.hear(line, other)["image"] = ref(other)
    return name(line)


@doctored
def image_is_not_heard_of(t: Trace, rng: random.Random) -> str | None:
    """An Install cites an event of which its node has heard nothing."""
    found = t.events("Install")
    if not found:
        return None
    line = rng.choice(found)
    t.deafen(line, t.cited(line["image"]))
    return name(line)


@doctored
def more_is_installed_than_was_shown(t: Trace, rng: random.Random) -> str | None:
    """An Install covers one entry more than the image that it cites."""
    found = t.events("Install")
    if not found:
        return None
    line = rng.choice(found)
    line["last"] += 1
    return name(line)


@doctored
def leader_installs(t: Trace, rng: random.Random) -> str | None:
    """A leader takes over an image of its own."""
    found = [e for e in t.events("Image") if t.leads(e)]
    if not found:
        return None
    line = rng.choice(found)
    own = {field: line[field] for field in ("last", "last_term", "digest")}
    return name(t.insert(line, "Install", **own, image=ref(line)))


@doctored
def cited_image_left_out(t: Trace, rng: random.Random) -> str | None:
    """An Image is taken out that another node's Install cites."""
    found = [t.cited(e["image"]) for e in t.events("Install")]
    found = [e for e in found if e["event"] == "Image"]
    if not found:
        return None
    line = rng.choice(found)
    t.remove(line)
    return name(line)


@doctored
def install_left_out(t: Trace, rng: random.Random) -> str | None:
    """An Install is taken out, and the next Commit of the node goes on from where it reached."""
    found = []
    for line in t.events("Install"):
        later = [e for e in t.file(line)[line["seq"] :] if e["event"] in ("Commit", "Install")]
        goes_on = later and later[0]["event"] == "Commit" and later[0]["runs"][0][0] == line["last"] + 1
        if goes_on and t.committed(t.file(line)[line["seq"] - 2]) < line["last"]:
            found.append(line)
    if not found:
        return None
    line = rng.choice(found)
    t.remove(line)
    return name(line)


@doctored
def commit_begins_within_the_image(t: Trace, rng: random.Random) -> str | None:
    """The first Commit after an image has its last entry once more."""
    found = [e for e in t.events("Commit") if e["runs"][0][0] == t.image_by(e)[0] + 1 > 1]
    if not found:
        return None
    line = rng.choice(found)
    last, last_term = t.image_by(line)
    first = line["runs"][0]
    if first[2] == last_term:
        first[0] = last
    else:
        line["runs"].insert(0, [last, last, last_term])
    return name(line)


@doctored
def voter_becomes_an_observer(t: Trace, rng: random.Random) -> str | None:
    """A node with a vote takes the type of those that have none."""
    # A voter by every configuration there is: what the node goes by is then no question.
    groups = [t.voters, *(voters(e["members"]) for e in t.events("Append") if "members" in e)]
    found = [e for e in t.node_events() if e["event"] != "Exit" and all(e["node"] in group for group in groups)]
    found = [e for e in found if t.type_of(e) in ("INIT", "UNKNOWN") and not t.leads(e)]
    if not found:
        return None
    return name(t.insert(rng.choice(found), "Transfer", to="OBSERVER"))


@doctored
def one_founder_claims_another_beginning(t: Trace, rng: random.Random) -> str | None:
    """One Start of a founder shows that the group was set up from another one's state, and no other does."""
    found = [e for e in t.events("Start") if e["node"] in t.voters]
    if len(found) < 2:
        return None
    line = rng.choice(found)
    line["founded"] = [max(1, line["last"]), max(1, line["last_term"]), "0123456789abcdef", 1]
    return name(line)


@doctored
def ack_of_another_term(t: Trace, rng: random.Random) -> str | None:
    """An Ack names another term than that of its entries."""
    found = t.events("Ack")
    if not found:
        return None
    line = rng.choice(found)
    line["entry_term"] = (line["entry_term"] if "entry_term" in line else line["term"]) + rng.choice((-1, 1))
    return name(line)
