"""Kinds of doctored traces: starts and ends, frontends, clients, order (see doctor.py)."""

from __future__ import annotations

import random
from itertools import pairwise

from doctor import Event, Trace, counter, doctored, name, ref


def _restarts(t: Trace) -> list[tuple[Event, Event]]:
    """Every Start after the first of its node, with the last event of the incarnation before."""
    nodes = sorted({e["node"] for e in t.events("Start")})
    return [(after[0], before[-1]) for n in nodes for before, after in zip(t.lives(n), t.lives(n)[1:], strict=False)]


def _all_kept(t: Trace) -> bool:
    """Whether every incarnation that was counted is there, so that none can explain what a Start shows."""
    lives = [t.lives(n) for n in sorted({e["node"] for e in t.events("Start")})]
    return all(counter(b[0]["inc"]) == counter(a[0]["inc"]) + 1 for life in lives for a, b in pairwise(life))


def _end(t: Trace) -> None:
    """All nodes end in good order, so that no line is yet to come that could explain what a Start shows."""
    for node in sorted({e["node"] for e in t.events("Start")}):
        last = t.lives(node)[-1][-1]
        if last["event"] != "Exit":
            t.insert(last, "Exit", code=0)


@doctored
def vote_forgotten(t: Trace, rng: random.Random) -> str | None:
    """A vote is durable before its line is written, so the next Start in that term shows it."""
    found = [
        s
        for s, _ in _restarts(t)
        if any(e["event"] in ("Grant", "Campaign") and e["term"] == s["term"] for e in t.before(s))
    ]
    if not found:
        return None
    start = rng.choice(found)
    start["vote"] = rng.choice([n for n in (None, *t.voters) if n != start["vote"]])
    return f"{name(start)} shows a vote for {start['vote']}"


@doctored
def term_forgotten(t: Trace, rng: random.Random) -> str | None:
    """A term is durable before its line is written, so no Start shows an earlier one."""
    found = [(s, e) for s, e in _restarts(t) if e["term"]]
    if not found:
        return None
    start, last = rng.choice(found)
    start["term"], start["vote"] = rng.randint(0, last["term"] - 1), None
    return name(start)


@doctored
def vote_for_one_who_did_not_stand(t: Trace, rng: random.Random) -> str | None:
    """A Campaign is traced before anybody is asked, so no disk holds a vote for one that has none."""
    stood = {(e["term"], e["node"]) for e in t.events("Campaign")}
    found = [
        (s, v)
        for s, _ in _restarts(t)
        if s["vote"] is None and s["node"] in t.voters and s["term"]
        for v in t.voters
        if v != s["node"] and (s["term"], v) not in stood
    ]
    if not found or not _all_kept(t):
        return None
    start, start["vote"] = rng.choice(found)
    _end(t)
    return f"{name(start)} shows a vote for {start['vote']}"


def _nobody_since(t: Trace, start: Event) -> tuple[Event, int] | None:
    """The last Store before a Start, with no other leader up to the Start's term that can have replaced it."""
    stores = [e for e in t.before(start) if e["event"] in ("Store", "Start")]
    last = stores[-1]
    if last["event"] != "Store" or any(last["term"] < term <= start["term"] for term in t.rules()):
        return None
    return last, last["term"]


@doctored
def entries_forgotten(t: Trace, rng: random.Random) -> str | None:
    """What was stored is there after a restart, unless a later leader has replaced it; here there was none."""
    found = [(s, last) for s, _ in _restarts(t) if (last := _nobody_since(t, s)) and last[0]["last"]]
    if not found or not _all_kept(t):
        return None
    start, (store, _) = rng.choice(found)
    log = t.log((store["last"], store["last_term"]))
    keep = rng.randrange(len(log))
    start["last"], start["last_term"] = keep, log[keep - 1] if keep else 0
    start["digest"] = t.digests().get((start["last"], start["last_term"]), start["digest"])
    _end(t)
    return f"{name(start)} shows {keep} of {len(log)} entries"


@doctored
def entries_of_a_loser(t: Trace, rng: random.Random) -> str | None:
    """A node comes back with the log of an earlier leader than the one it last stored for."""
    found = []
    for start, _ in _restarts(t):
        if last := _nobody_since(t, start):
            mine = t.log((last[0]["last"], last[0]["last_term"]))
            for term, rule in t.rules().items():
                theirs = t.log((rule.last, term)) if rule.appends and term < last[1] else mine
                if theirs[: len(mine)] != mine and mine[: len(theirs)] != theirs:
                    found.append((start, rule.appends[-1]))
    if not found or not _all_kept(t):
        return None
    start, append = rng.choice(found)
    start["last"], start["last_term"], start["digest"] = append["last"], append["term"], append["digest"]
    _end(t)
    return f"{name(start)} shows the log of {name(append)}"


@doctored
def entries_that_nobody_wrote(t: Trace, rng: random.Random) -> str | None:
    """A leader traces its Append before it sends it, so no disk holds more than it has traced."""
    found = [(s, term) for s, _ in _restarts(t) for term in t.rules() if term <= s["term"]]
    if not found or not _all_kept(t):
        return None
    start, term = rng.choice(found)
    start["last"], start["last_term"] = t.rules()[term].last + rng.randint(1, 3), term
    _end(t)
    return f"{name(start)} shows {start['last']} of term {term}"


@doctored
def another_disk(t: Trace, rng: random.Random) -> str | None:
    """A node comes back on another disk."""
    if not (found := _restarts(t)):
        return None
    start = rng.choice(found)[0]
    start["disk"] = "another"
    return name(start)


@doctored
def shared_disk(t: Trace, rng: random.Random) -> str | None:
    """Two nodes have the same disk."""
    starts = t.events("Start")
    found = [(a, b) for a in starts for b in starts if a["node"] != b["node"]]
    if not found:
        return None
    one, other = rng.choice(found)
    one["disk"] = other["disk"]
    return f"{name(one)} on the disk of {other['node']}"


@doctored
def counter_repeated(t: Trace, rng: random.Random) -> str | None:
    """Two incarnations of a node have the same counter, which is durable and grows."""
    if not (found := _restarts(t)):
        return None
    start, last = rng.choice(found)
    counter = last["inc"].partition("-")[0]
    # A random part that sorts after the other's: the two stay in their order.
    t.rename(start, f"{counter}-ffffffff")
    return name(start)


@doctored
def start_in_the_middle(t: Trace, rng: random.Random) -> str | None:
    """An incarnation starts once."""
    found = [e for e in t.node_events() if e["event"] != "Exit"]
    line = rng.choice(found)
    own = {k: t.file(line)[0][k] for k in ("vote", "last", "last_term", "digest", "disk", "voters")}
    return name(t.insert(line, "Start", **own))


@doctored
def life_after_exit(t: Trace, rng: random.Random) -> str | None:
    """After an Exit there is nothing."""
    if not (exits := t.events("Exit")):
        return None
    line = rng.choice(exits)
    if rng.random() < 0.5 or not (grants := [e for e in t.file(line) if e["event"] in ("Store", "Commit")]):
        return name(t.insert(line, "Transfer", to="FOLLOWER"))
    again = {k: v for k, v in rng.choice(grants).items() if k in ("last", "last_term", "digest", "runs")}
    return name(t.insert(line, "Commit" if "runs" in again else "Store", **again))


# --- frontends -----------------------------------------------------------------------------------------------------


@doctored
def activation_too_early(t: Trace, rng: random.Random) -> str | None:
    """A winner becomes LEADER before it knows its epoch record committed."""
    found = [e for e in t.events("Win", "Append") if t.leads(e) and t.type_of(e) != "LEADER"]
    rules = t.rules()
    found = [e for e in found if t.committed(e) < rules[e["term"]].first and rules[e["term"]].appends]
    if not found:
        return None
    line = rng.choice(found)
    return name(t.insert(line, "Activate", epoch=rules[line["term"]].appends[0]["epoch"]))


@doctored
def activation_of_a_follower(t: Trace, rng: random.Random) -> str | None:
    """A node that does not lead becomes LEADER."""
    found = [e for e in t.node_events() if not t.leads(e) and e["event"] != "Exit"]
    line = rng.choice(found)
    return name(t.insert(line, "Activate", epoch=max(1, line["term"])))


@doctored
def activation_twice(t: Trace, rng: random.Random) -> str | None:
    """A LEADER becomes LEADER."""
    if not (found := t.events("Activate")):
        return None
    line = rng.choice(found)
    return name(t.insert(line, "Activate", epoch=line["epoch"]))


@doctored
def leader_turns_follower(t: Trace, rng: random.Random) -> str | None:
    """A LEADER, in office or deposed, becomes something else without ending."""
    found = [e for e in t.node_events() if t.type_of(e) == "LEADER"]
    if not found:
        return None
    return name(t.insert(rng.choice(found), "Transfer", to=rng.choice(("FOLLOWER", "UNKNOWN", "OBSERVER"))))


@doctored
def leader_stands_again(t: Trace, rng: random.Random) -> str | None:
    """A LEADER that has lost its term stands for election without ending."""
    found = [e for e in t.events("Lose") if t.type_of(e) == "LEADER"]
    if not found:
        return None
    line = rng.choice(found)
    last, last_term = t.stored(line)
    return name(t.insert(line, "Campaign", term=line["term"] + 1, last=last, last_term=last_term, voters=t.voters))


@doctored
def transfer_that_does_not_exist(t: Trace, rng: random.Random) -> str | None:
    """INIT never becomes UNKNOWN, a FOLLOWER no OBSERVER, nor an OBSERVER a FOLLOWER."""
    wrong = {"INIT": "UNKNOWN", "FOLLOWER": "OBSERVER", "OBSERVER": "FOLLOWER"}
    found = [e for e in t.node_events() if t.type_of(e) in wrong]
    line = rng.choice(found)
    return name(t.insert(line, "Transfer", to=wrong[t.type_of(line)]))


@doctored
def lose_what_one_does_not_have(t: Trace, rng: random.Random) -> str | None:
    """Only who leads can lose."""
    line = rng.choice([e for e in t.node_events() if not t.leads(e) and e["event"] != "Exit"])
    return name(t.insert(line, "Lose"))


@doctored
def term_left_without_lose(t: Trace, rng: random.Random) -> str | None:
    """A leader's loss is taken out, and the next thing it says is of a later term."""
    found = [e for e in t.events("Lose") if any(later["term"] > e["term"] for later in t.file(e)[e["seq"] :][:1])]
    if not found:
        return None
    line = rng.choice(found)
    t.remove(line)
    return name(line)


# --- clients -------------------------------------------------------------------------------------------------------


@doctored
def promise_outside_the_ack(t: Trace, rng: random.Random) -> str | None:
    """A client has a promise for an index that the Ack does not cover."""
    if not (found := t.promises()):
        return None
    line = rng.choice(found)
    ack = t.cited(line["ack"])
    line["index"] = rng.choice((ack["first"] - 1, ack["last"] + 1))
    return f"{name(line)} for index {line['index']}"


@doctored
def promise_of_another_term(t: Trace, rng: random.Random) -> str | None:
    """A client has a promise for an entry of another term than the one whose leader made the promise."""
    if not (found := t.promises()):
        return None
    line = rng.choice(found)
    line["entry_term"] += rng.choice((-1, 1))
    return f"{name(line)} for term {line['entry_term']}"


@doctored
def promise_by_nobody(t: Trace, rng: random.Random) -> str | None:
    """A client's promise cites what is no Ack."""
    found = [
        (o, e) for o in t.promises() for e in t.file(t.cited(o["ack"]))[: o["ack"][2]] if e["event"] != "Ack"
    ]
    if not found:
        return None
    line, cited = rng.choice(found)
    line["ack"] = ref(cited)
    return f"{name(line)} cites {name(cited)}"


@doctored
def promise_unheard(t: Trace, rng: random.Random) -> str | None:
    """A client's promise cites an Ack of which the client has not heard."""
    if not (found := t.promises()):
        return None
    line = rng.choice(found)
    t.deafen(line, t.cited(line["ack"]))
    return name(line)


@doctored
def two_promises_for_one_place(t: Trace, rng: random.Random) -> str | None:
    """Two writes cannot be at one index."""
    promises = t.promises()
    found = [(one, t.cited(other["ack"]), other) for one in promises for other in promises if one is not other]
    if not (choice := t.pick(rng, found)):
        return None
    one, _, other = choice
    for field in ("index", "entry_term", "ack"):
        one[field] = other[field]
    t.hear(one, t.cited(one["ack"]))
    return f"{name(one)} and {name(other)}"


@doctored
def answer_to_no_question(t: Trace, rng: random.Random) -> str | None:
    """An operation is answered that was never begun, or that has its answer."""
    if not (found := t.events("Ok", "Fail", "Unknown")):
        return None
    line = rng.choice(found)
    if rng.random() < 0.5:
        line["op"] = "never begun"
        return name(line)
    return name(t.insert(line, "Fail", op=line["op"], error="once more"))


@doctored
def one_name_for_two_writes(t: Trace, rng: random.Random) -> str | None:
    """A client begins a write by the name of one that is under way."""
    if not (found := t.events("Invoke")):
        return None
    line = rng.choice(found)
    return name(t.insert(line, "Invoke", op=line["op"]))


# --- order ---------------------------------------------------------------------------------------------------------


@doctored
def circle(t: Trace, rng: random.Random) -> str | None:
    """Two events happen after one another: somebody has heard of what came of its own doing."""
    found = [
        (t.file(t.cited(r))[rng.randrange(r[2])], e)
        for lines in t.files.values()
        for e in lines
        for r in e.get("after", ())
        if r[0] != e["node"]
    ]
    if not found:
        return None
    early, late = rng.choice(found)
    early["after"] = [*early.get("after", []), ref(late)]
    return f"{name(early)} after {name(late)}"


@doctored
def after_its_own_future(t: Trace, rng: random.Random) -> str | None:
    """An event happens after itself, or after a later one of its own file."""
    lines = rng.choice(list(t.files.values()))
    early, late = sorted((rng.randrange(len(lines)), rng.randrange(len(lines))))
    lines[early]["after"] = [*lines[early].get("after", []), ref(lines[late])]
    return f"{name(lines[early])} after {name(lines[late])}"


@doctored
def start_after_what_followed(t: Trace, rng: random.Random) -> str | None:
    """An incarnation's event happens after the Start of the next: the old process still lives."""
    if not (found := _restarts(t)):
        return None
    start, last = rng.choice(found)
    last["after"] = [*last.get("after", []), ref(start)]
    return f"{name(last)} after {name(start)}"
