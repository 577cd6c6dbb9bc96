"""Kinds of doctored traces: votes, candidacies and wins (see doctor.py)."""

from __future__ import annotations

import random

from doctor import Event, Trace, doctored, name, ref


def _vote(t: Trace, after: Event, campaign: Event) -> Event:
    """A forged Grant, true to the voter's own log as far as that is known."""
    last, last_term = t.stored(after)
    return t.hear(
        t.insert(
            after, "Grant", term=campaign["term"], candidate=campaign["node"], campaign=ref(campaign),
            last=last, last_term=last_term,
        ),
        campaign,
    )  # fmt: skip


def _rival(t: Trace, rng: random.Random, kinds: tuple[str, ...]) -> tuple[Event, Event] | None:
    """A vote of one of these kinds, and a Campaign of the same term by yet another node."""
    found = [
        (vote, other)
        for vote in t.events(*kinds)
        for other in t.events("Campaign")
        if other["term"] == vote["term"] and other["node"] not in (vote["node"], vote.get("candidate"))
    ]
    return t.pick(rng, found)


@doctored
def vote_for_two(t: Trace, rng: random.Random) -> str | None:
    """A node has one vote in a term, and gives it to a second candidate as well."""
    if not (found := _rival(t, rng, ("Grant",))):
        return None
    return f"{name(_vote(t, *found))} after {name(found[0])}"


@doctored
def vote_besides_own_candidacy(t: Trace, rng: random.Random) -> str | None:
    """A Campaign is a vote for oneself, so there is none left for another candidate."""
    if not (found := _rival(t, rng, ("Campaign",))):
        return None
    return f"{name(_vote(t, *found))} after {name(found[0])}"


@doctored
def vote_for_two_over_a_restart(t: Trace, rng: random.Random) -> str | None:
    """The second vote comes from the next incarnation, whose Start shows the first one's term."""
    found = [
        (start, other)
        for start in t.events("Start")
        if start["vote"] is not None
        for other in t.events("Campaign")
        if other["term"] == start["term"] and other["node"] not in (start["node"], start["vote"])
    ]
    if not (choice := t.pick(rng, found)):
        return None
    return name(_vote(t, *choice))


@doctored
def same_vote_twice(t: Trace, rng: random.Random) -> str | None:
    """The same vote is cast again; a repeated reply is no event, so a second Grant is a second vote."""
    if not (grants := t.events("Grant")):
        return None
    grant = rng.choice(grants)
    again = {k: v for k, v in grant.items() if k in ("candidate", "campaign", "last", "last_term")}
    return name(t.insert(grant, "Grant", **again))


@doctored
def vote_for_an_older_log(t: Trace, rng: random.Random) -> str | None:
    """A voter grants in a later term what the election restriction forbids: the candidate's log ends before its own."""
    found = [
        (e, c)
        for c in t.events("Campaign")
        for e in t.node_events()
        if e["node"] != c["node"] and e["term"] < c["term"] and e["event"] != "Exit"
        and (c["last_term"], c["last"]) < t.stored(e)[::-1] and not t.leads(e)
    ]
    if not (choice := t.pick(rng, found)):
        return None
    return name(_vote(t, *choice))


@doctored
def vote_on_another_campaign(t: Trace, rng: random.Random) -> str | None:
    """A Grant cites a Campaign of another term or of another candidate."""
    found = [
        (g, c)
        for g in t.events("Grant")
        for c in t.events("Campaign")
        if (c["term"], c["node"]) != (g["term"], g["candidate"]) and c["node"] != g["node"]
    ]
    if not (choice := t.pick(rng, found)):
        return None
    grant, campaign = choice
    grant["campaign"] = ref(campaign)
    t.hear(grant, campaign)
    return f"{name(grant)} cites {name(campaign)}"


@doctored
def vote_on_no_campaign(t: Trace, rng: random.Random) -> str | None:
    """A Grant cites what its candidate wrote before the Campaign, which is something else."""
    found = [g for g in t.events("Grant") if t.cited(_earlier(g["campaign"]))["event"] != "Campaign"]
    if not found:
        return None
    grant = rng.choice(found)
    grant["campaign"] = _earlier(grant["campaign"])
    return f"{name(grant)} cites {name(t.cited(grant['campaign']))}"


def _earlier(reference: list[object]) -> list[object]:
    return [*reference[:2], max(1, int(str(reference[2])) - 1)]


@doctored
def vote_unheard(t: Trace, rng: random.Random) -> str | None:
    """The voter has not heard of the Campaign it votes for."""
    if not (grants := t.events("Grant")):
        return None
    grant = rng.choice(grants)
    t.deafen(grant, t.cited(grant["campaign"]))
    return name(grant)


@doctored
def vote_goes_elsewhere(t: Trace, rng: random.Random) -> str | None:
    """A Grant names another candidate than the one whose Campaign it cites."""
    found = [(g, v) for g in t.events("Grant") for v in t.voters if v not in (g["candidate"], g["node"])]
    if not found:
        return None
    grant, voter = rng.choice(found)
    grant["candidate"] = voter
    return f"{name(grant)} for {voter}"


@doctored
def boast(t: Trace, rng: random.Random) -> str | None:
    """A candidate's log, or a voter's, is said to end where it does not."""
    if not (votes := t.events("Campaign", "Grant")):
        return None
    vote = rng.choice(votes)
    if vote["last"] and rng.random() < 0.5 and t.stored(vote) != (0, 0):
        vote["last"] = vote["last_term"] = 0
    else:
        vote["last"] += 1000
    return f"{name(vote)} says {vote['last']} of term {vote['last_term']}"


@doctored
def voters_changed(t: Trace, rng: random.Random) -> str | None:
    """What a node goes by is in its log, and one line names other voters."""
    found = [e for e in t.events("Start", "Campaign") if e["voters"]]
    if len(found) < 2:
        return None
    line = rng.choice(found)
    voters = line["voters"]
    # Of the lone voter of a group, no voters are left: whoever has nothing yet may name none.
    others = [voters[:-1], [*voters, "n9"], [*voters, voters[0]], ["n9", *voters[1:]]]
    line["voters"] = rng.choice([other for other in others if other])
    return f"{name(line)} names {line['voters']}"


@doctored
def term_goes_back(t: Trace, rng: random.Random) -> str | None:
    """A node's term never decreases within an incarnation."""
    found = [e for e in t.node_events() if e["seq"] > 1 and t.file(e)[e["seq"] - 2]["term"] > 0]
    if not found:
        return None
    line = rng.choice(found)
    line["term"] = t.file(line)[line["seq"] - 2]["term"] - 1
    return name(line)


# --- wins ----------------------------------------------------------------------------------------------------------


@doctored
def win_by_too_few(t: Trace, rng: random.Random) -> str | None:
    """A Win counts half of the voters, or fewer."""
    found = [w for w in t.events("Win") if t.majority(w) > 1]
    if not found:
        return None
    win = rng.choice(found)
    win["grants"].sort(key=lambda r: r[0] != win["node"])
    del win["grants"][rng.randint(1, t.majority(win) - 1) :]
    return f"{name(win)} counts {win['grants']}"


@doctored
def vote_counted_twice(t: Trace, rng: random.Random) -> str | None:
    """A Win counts one vote twice, in place of another or besides."""
    if not (wins := t.events("Win")):
        return None
    win = rng.choice(wins)
    others = [r for r in win["grants"] if r[0] != win["node"]]
    if len(others) > 1 and rng.random() < 0.5:
        win["grants"].remove(others.pop())
    win["grants"].append(rng.choice(others or win["grants"])[:])
    return f"{name(win)} counts {win['grants']}"


def _other_grant(t: Trace, rng: random.Random, same_term: bool) -> str | None:
    found = [
        (w, g, r)
        for w in t.events("Win")
        for r in w["grants"]
        if r[0] != w["node"]
        for g in t.events("Grant", "Campaign")
        if g["node"] != w["node"]
        and (g["term"] == w["term"]) == same_term
        and (g.get("candidate") != w["node"] or not same_term)
    ]
    if not (choice := t.pick(rng, found)):
        return None
    win, grant, reference = choice
    win["grants"][win["grants"].index(reference)] = ref(grant)
    t.hear(win, grant)
    return f"{name(win)} counts {name(grant)} for {grant.get('candidate', 'itself')}"


@doctored
def vote_of_another_term_counted(t: Trace, rng: random.Random) -> str | None:
    """A Win counts a vote of another term."""
    return _other_grant(t, rng, False)


@doctored
def vote_for_another_counted(t: Trace, rng: random.Random) -> str | None:
    """A Win counts a vote that went to another candidate."""
    return _other_grant(t, rng, True)


@doctored
def vote_counted_unheard(t: Trace, rng: random.Random) -> str | None:
    """A Win counts a vote that the winner has not heard of."""
    found = [(w, r) for w in t.events("Win") for r in w["grants"] if r[0] != w["node"]]
    if not found:
        return None
    win, reference = rng.choice(found)
    t.deafen(win, t.cited(reference))
    return f"{name(win)} has not heard {reference}"


@doctored
def vote_counted_and_never_cast(t: Trace, rng: random.Random) -> str | None:
    """A vote that a Win counts is taken out of the voter's file: what the Win cites then is no vote for the winner."""
    found = [r for w in t.events("Win") for r in w["grants"] if r[0] != w["node"]]
    if not found:
        return None
    grant = t.cited(rng.choice(found))
    t.remove(grant)
    return name(grant)


@doctored
def own_vote_not_counted(t: Trace, rng: random.Random) -> str | None:
    """A Win does not count the winner's Campaign, so nothing says with which log it leads."""
    if not (wins := t.events("Win")):
        return None
    win = rng.choice(wins)
    win["grants"] = [r for r in win["grants"] if r[0] != win["node"]]
    return name(win)


@doctored
def win_of_a_loser(t: Trace, rng: random.Random) -> str | None:
    """A candidate whom half of the voters, or fewer, have voted for claims to have won."""
    found = [
        (c, g)
        for c in t.events("Campaign")
        if len(g := [g for g in t.events("Grant") if g["candidate"] == c["node"] and g["term"] == c["term"]]) + 1
        < t.majority(c)
    ]
    if not found:
        return None
    campaign, grants = rng.choice(found)
    win = t.insert(campaign, "Win", grants=[ref(campaign)])
    for grant in grants:
        win["grants"].append(ref(grant))
        t.hear(win, grant)
    return name(win)


@doctored
def win_twice(t: Trace, rng: random.Random) -> str | None:
    """A term has one winner, once."""
    if not (wins := t.events("Win")):
        return None
    win = rng.choice(wins)
    return name(t.insert(win, "Win", grants=[r[:] for r in win["grants"]]))


@doctored
def campaign_of_a_leader(t: Trace, rng: random.Random) -> str | None:
    """Who leads stands for election in the next term, without having lost this one."""
    if not (wins := t.events("Win")):
        return None
    win = rng.choice(wins)
    last, last_term = t.stored(win)
    return name(t.insert(win, "Campaign", term=win["term"] + 1, last=last, last_term=last_term, voters=t.voters))
