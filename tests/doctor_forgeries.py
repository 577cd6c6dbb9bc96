"""Kinds of doctored traces: whole split brains, told by several forged lines that agree with each other (doctor.py).

An attacker edits the files of the nodes on one side so that they are consistent among themselves. The other side's
files are what they were, and at least one voter was on both sides.
"""

from __future__ import annotations

import random

from doctor import Event, Trace, doctored, name, ref

FORGED = "0123456789abcdef"


def _still_in(t: Trace, node: str, term: int) -> Event | None:
    """The last event of a node that is of this term or an earlier one, and not an Exit; None if it never was there."""
    found = [e for life in t.lives(node) for e in life if e["term"] <= term and e["event"] != "Exit"]
    return found[-1] if found else None


def _goes_on(t: Trace, here: Event, seen: Event) -> bool:
    """Whether an event happens after what follows another in its file."""
    following = t.file(here)[here["seq"] :]
    return bool(following) and t.follows(seen, following[0])


def _deposed(t: Trace, rng: random.Random) -> tuple[int, Event] | None:
    """A term whose leader became LEADER and has a successor, and that leader's last event before it lost the term."""
    rules = t.rules()
    found = []
    for term, rule in rules.items():
        lines = t.file(rule.win)[rule.win["seq"] - 1 :]
        in_office = [e for e in lines if t.leads(e) and t.type_of(e) == "LEADER" and e["term"] == term]
        if in_office and max(rules) > term:
            found.append((term, in_office[-1]))
    return rng.choice(found) if found else None


def _write_on(t: Trace, term: int, last: Event) -> tuple[Event, int]:
    """The deposed leader appends one more entry and stores it."""
    at = t.rules()[term].last + 1
    append = t.insert(last, "Append", first=at, last=at, digest=FORGED)
    return t.insert(append, "Store", last=at, last_term=term, digest=FORGED), at


def _commit(t: Trace, own: Event, others: list[Event], at: int) -> Event:
    term = own["term"]
    first = t.committed(own) + 1
    runs = [[first, at, term]]
    line = t.insert(own, "Commit", runs=runs, digest=FORGED, stores=[ref(own), *map(ref, others)])
    for store in others:
        t.hear(line, store)
    t.insert(line, "Ack", first=at, last=at)
    return line


@doctored
def deposed_leader_writes_on(t: Trace, rng: random.Random) -> str | None:
    """A deposed leader's file is continued: it appends, stores, commits by its own Store and old ones, acknowledges.

    Illegal, as no others have stored the new entry.
    """
    if not (found := _deposed(t, rng)) or t.majority(found[1]) == 1:
        return None
    voters = t.voters_by(found[1])
    own, at = _write_on(t, *found)
    others = [s for s in t.events("Store") if s["term"] == own["term"] and s["node"] != own["node"]]
    others = [s for s in others if not t.follows(s, own)]
    newest = list({s["node"]: s for s in others if s["node"] in voters}.values())
    return name(_commit(t, own, newest, at))


@doctored
def deposed_leader_has_helpers(t: Trace, rng: random.Random) -> str | None:
    """So many voters' files hold forged Stores that a deposed leader commits an entry its successor does not have.

    Each forged Store stands where its node was still in the old term, or it would be refused for that; and later votes
    of that node are changed to agree. Illegal, as no later leader's own file is changed, so none has the entry.
    """
    if not (found := _deposed(t, rng)):
        return None
    own, at = _write_on(t, *found)
    successors = {rule.win["node"] for term, rule in t.rules().items() if term > own["term"]}
    others = [n for n in t.voters_by(own) if n != own["node"] and n not in successors]
    rng.shuffle(others)
    stores: list[Event] = []
    for node in others:
        here = _still_in(t, node, own["term"])
        # Unless the leader has heard already of what the node did next: a circle would come of it.
        if here is not None and len(stores) + 1 < t.majority(own) and not _goes_on(t, here, own):
            line = t.insert(here, "Store", term=own["term"], last=at, last_term=own["term"], digest=FORGED)
            t.hear(line, own)
            stores.append(line)
            _agree(t, line)
    if len(stores) + 1 < t.majority(own):
        return None
    return name(_commit(t, own, stores, at))


def _agree(t: Trace, store: Event) -> None:
    """Change what the node says of its log next, up to its next Store, so that it agrees with a forged one."""
    lives = t.lives(store["node"])
    following = t.file(store)[store["seq"] :]
    for life in lives[lives.index(t.file(store)) + 1 :]:
        following = following + life
    for line in following:
        if line["event"] == "Store":
            return
        if line["event"] in ("Campaign", "Grant", "Start"):
            line["last"], line["last_term"] = store["last"], store["last_term"]
            if "digest" in line:
                line["digest"] = store["digest"]


@doctored
def usurper(t: Trace, rng: random.Random) -> str | None:
    """A candidate that lost to another of its term gets forged votes, wins, and appends its epoch record.

    Illegal, as some voter has voted for both.
    """
    rules = t.rules()
    found = [c for c in t.events("Campaign") if c["term"] in rules and rules[c["term"]].win["node"] != c["node"]]
    if not found:
        return None
    campaign = rng.choice(found)
    votes: list[Event] = []
    for node in (n for n in campaign["voters"] if n != campaign["node"]):
        here = _still_in(t, node, campaign["term"])
        if here is not None and len(votes) + 1 < t.majority(campaign) and not t.follows(campaign, here):
            last, last_term = t.stored(here)
            vote = t.insert(here, "Grant", term=campaign["term"], candidate=campaign["node"], campaign=ref(campaign),
                            last=last, last_term=last_term)
            t.hear(vote, campaign)
            votes.append(vote)
    here = [e for e in t.file(campaign) if e["term"] == campaign["term"] and e["event"] != "Exit"][-1]
    win = t.insert(here, "Win", grants=[ref(campaign), *map(ref, votes)])
    for vote in votes:
        t.hear(win, vote)
    first = campaign["last"] + 1
    epoch = rules[campaign["last_term"]].appends[0]["epoch"] + 1 if campaign["last_term"] else 1
    t.insert(win, "Append", first=first, last=first, digest=FORGED, epoch=epoch)
    return name(win)


@doctored
def write_of_a_deposed_leader_promised(t: Trace, rng: random.Random) -> str | None:
    """A deposed leader acknowledges to a client what it has appended and nobody committed.

    Illegal, as the leader does not know it committed.
    """
    if not (found := _deposed(t, rng)):
        return None
    term, last = found
    rule = t.rules()[term]
    at = max(rule.last, t.committed(last) + 1, rule.first + 1)
    ack = t.insert(last, "Ack", first=at, last=at)
    for line in t.events("Unknown"):
        line["event"] = "Ok"
        del line["error"]
        line |= {"index": at, "entry_term": term, "ack": ref(ack)}
        t.hear(line, ack)
        break
    return name(ack)
