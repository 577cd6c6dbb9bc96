"""Kinds of doctored traces: entries, Stores, Commits and acknowledgements (see doctor.py)."""

from __future__ import annotations

import random

from doctor import Event, Trace, doctored, name, other_digest, ref


def _one(t: Trace, rng: random.Random, *kinds: str) -> Event | None:
    found = t.events(*kinds)
    return rng.choice(found) if found else None


@doctored
def append_by_a_follower(t: Trace, rng: random.Random) -> str | None:
    """Only the winner of a term, while it leads, makes entries of it."""
    found = [e for e in t.node_events() if e["term"] and not t.leads(e) and e["event"] != "Exit"]
    if not found:
        return None
    line = rng.choice(found)
    at = t.stored(line)[0] + 1
    return name(t.insert(line, "Append", first=at, last=at, digest="0123456789abcdef", epoch=line["term"]))


@doctored
def append_leaves_a_hole(t: Trace, rng: random.Random) -> str | None:
    """An Append begins one entry after the end of the leader's log."""
    if not (line := _one(t, rng, "Append")):
        return None
    line["first"] += 1
    line["last"] = max(line["first"], line["last"])
    return name(line)


@doctored
def append_overwrites(t: Trace, rng: random.Random) -> str | None:
    """An Append begins with an entry that the leader has already."""
    if not (line := _one(t, rng, "Append")):
        return None
    line["first"] -= 1
    return name(line)


@doctored
def append_left_out(t: Trace, rng: random.Random) -> str | None:
    """An Append is taken out, and the next one of that leader begins where no log ended."""
    found = [a for rule in t.rules().values() for a in rule.appends[:-1]]
    if not found:
        return None
    line = rng.choice(found)
    t.remove(line)
    return name(line)


@doctored
def append_after_lose(t: Trace, rng: random.Random) -> str | None:
    """Who has lost a term makes no more entries of it."""
    if not (line := _one(t, rng, "Lose")):
        return None
    at = t.rules()[line["term"]].last + 1
    return name(t.insert(line, "Append", first=at, last=at, digest="0123456789abcdef"))


@doctored
def write_before_activation(t: Trace, rng: random.Random) -> str | None:
    """A leader writes before it has become LEADER."""
    found = [rule.appends[0] for rule in t.rules().values() if rule.appends]
    if not found:
        return None
    line = rng.choice(found)
    at = line["last"] + 1
    return name(t.insert(line, "Append", first=at, last=at, digest="0123456789abcdef"))


@doctored
def epoch_is_another(t: Trace, rng: random.Random) -> str | None:
    """The epoch in a record, in a Commit or in an Activate is one more or less than what must follow."""
    found = [e for e in t.events("Append", "Activate", "Commit") if "epoch" in e or "epochs" in e]
    if not found:
        return None
    line = rng.choice(found)
    more = rng.choice((-1, 1))
    if "epochs" in line:
        rng.choice(line["epochs"])[1] += more
    else:
        line["epoch"] += more
    return name(line)


@doctored
def epoch_left_out(t: Trace, rng: random.Random) -> str | None:
    """A record without its epoch, or a Commit that covers a record and does not say so."""
    found = [e for e in t.events("Append", "Commit") if "epoch" in e or "epochs" in e]
    if not found:
        return None
    line = rng.choice(found)
    line.pop("epoch" if "epoch" in line else "epochs")
    return name(line)


@doctored
def epoch_inside_a_term(t: Trace, rng: random.Random) -> str | None:
    """A leader makes a second epoch record in its term."""
    if not (found := [e for e in t.events("Append") if "epoch" not in e]):
        return None
    line = rng.choice(found)
    line["epoch"] = t.rules()[line["term"]].appends[0].get("epoch", 0) + 1
    return name(line)


# --- stores --------------------------------------------------------------------------------------------------------


@doctored
def store_of_another_log(t: Trace, rng: random.Random) -> str | None:
    """An index has one term on the log of a leader, and a Store in that leader's term names another."""
    if not (line := _one(t, rng, "Store")):
        return None
    line["last_term"] = rng.choice([n for n in (*t.rules(), line["term"] + 1) if n != line["last_term"]])
    return f"{name(line)} says {line['last']} of term {line['last_term']}"


@doctored
def store_beyond_the_log(t: Trace, rng: random.Random) -> str | None:
    """A Store reaches further than the leader of its term ever did."""
    if not (line := _one(t, rng, "Store")):
        return None
    line["last"], line["last_term"] = t.rules()[line["term"]].last + rng.randint(1, 3), line["term"]
    return f"{name(line)} says {line['last']}"


@doctored
def store_beyond_what_was_heard(t: Trace, rng: random.Random) -> str | None:
    """A follower stores what its leader wrote later than anything it has heard of that leader."""
    found = [
        (s, a)
        for term, rule in t.rules().items()
        for s in t.events("Store")
        if s["term"] == s["last_term"] == term and s["node"] != rule.win["node"]
        for a in rule.appends
        if a["last"] > s["last"] and not t.heard(s, a)
    ]
    if not found:
        return None
    line, append = rng.choice(found)
    line["last"], line["digest"] = append["last"], append["digest"]
    return f"{name(line)} says {line['last']}"


@doctored
def store_inside_an_append(t: Trace, rng: random.Random) -> str | None:
    """A Store in its leader's term ends where no Append of that leader ended."""
    ends = {(a["last"], a["term"]) for a in t.events("Append")}
    found = [
        (s, at)
        for s in t.events("Store")
        if s["term"] == s["last_term"]
        for at in range(t.rules()[s["term"]].first, s["last"])
        if (at, s["term"]) not in ends
    ]
    if not found:
        return None
    line, line["last"] = rng.choice(found)
    return f"{name(line)} says {line['last']}"


@doctored
def store_for_an_older_term(t: Trace, rng: random.Random) -> str | None:
    """A node that has moved on stores once more for the leader of an earlier term."""
    found = [
        (e, s)
        for e in t.node_events()
        if e["event"] != "Exit"
        for s in t.before(e)
        if s["event"] == "Store" and s["inc"] == e["inc"] and s["term"] < e["term"]
    ]
    if not found:
        return None
    line, store = rng.choice(found)
    own = {k: store[k] for k in ("last", "last_term", "digest")}
    return f"{name(t.insert(line, 'Store', term=store['term'], **own))} after {name(line)}"


@doctored
def store_shrinks(t: Trace, rng: random.Random) -> str | None:
    """From one Store to the next, in one term, a log never becomes shorter."""
    found = [
        (s, a)
        for term, rule in t.rules().items()
        for s in t.events("Store")
        if s["term"] == s["last_term"] == term
        for a in rule.appends
        if a["last"] < s["last"]
    ]
    if not found:
        return None
    line, append = rng.choice(found)
    shorter = t.insert(line, "Store", last=append["last"], last_term=append["term"], digest=append["digest"])
    return f"{name(shorter)} says {append['last']} after {line['last']}"


@doctored
def store_without_hearing_of_the_leader(t: Trace, rng: random.Random) -> str | None:
    """A follower stores for a leader of whose Win it has not heard."""
    rules = t.rules()
    found = [s for s in t.events("Store") if rules[s["term"]].win["node"] != s["node"]]
    if not found:
        return None
    line = rng.choice(found)
    t.deafen(line, rules[line["term"]].win)
    return name(line)


@doctored
def store_for_nobody(t: Trace, rng: random.Random) -> str | None:
    """A node stores for the leader of a term that has none."""
    rules = t.rules()
    found = [e for e in t.node_events() if e["event"] != "Exit" and e["term"] + 1 not in rules and t.stored(e)[0]]
    if not found:
        return None
    line = rng.choice(found)
    last, last_term = t.stored(line)
    digest = t.digests()[last, last_term]
    return name(t.insert(line, "Store", term=line["term"] + 1, last=last, last_term=last_term, digest=digest))


@doctored
def contents_differ(t: Trace, rng: random.Random) -> str | None:
    """The digest of a position that an Append ended at is another in a Store, a Commit or a Start."""
    ends = {(a["last"], a["term"]) for a in t.events("Append")}
    found = [e for e in t.events("Start", "Store") if (e["last"], e["last_term"]) in ends]
    found += [e for e in t.events("Commit") if tuple(e["runs"][-1][1:]) in ends]
    if not found:
        return None
    line = rng.choice(found)
    line["digest"] = other_digest(line["digest"])
    return name(line)


@doctored
def contents_of_the_leader_differ(t: Trace, rng: random.Random) -> str | None:
    """The leader names another digest for the end of an Append than somebody who stored it."""
    stored = {(s["last"], s["last_term"]) for s in t.events("Store")}
    found = [a for a in t.events("Append") if (a["last"], a["term"]) in stored]
    if not found:
        return None
    line = rng.choice(found)
    line["digest"] = other_digest(line["digest"])
    return name(line)


# --- commits -------------------------------------------------------------------------------------------------------


def _commit(t: Trace, rng: random.Random, evidence: str) -> Event | None:
    found = [c for c in t.events("Commit") if evidence in c]
    return rng.choice(found) if found else None


@doctored
def commit_by_too_few(t: Trace, rng: random.Random) -> str | None:
    """A leader commits by the Stores of half of the voters, or fewer."""
    if not (line := _commit(t, rng, "stores")):
        return None
    last = line["runs"][-1][1]
    reach = [r for r in line["stores"] if t.cited(r)["last"] >= last]
    line["stores"] = [r for r in line["stores"] if r not in reach] + reach[: rng.randint(0, t.majority(line) - 1)]
    return f"{name(line)} counts {line['stores']}"


@doctored
def store_counted_twice(t: Trace, rng: random.Random) -> str | None:
    """A Commit counts two Stores of one voter."""
    if not (line := _commit(t, rng, "stores")):
        return None
    line["stores"].append(rng.choice(line["stores"])[:])
    return f"{name(line)} counts {line['stores']}"


@doctored
def store_of_another_term_counted(t: Trace, rng: random.Random) -> str | None:
    """A Commit counts a Store of another term than the leader's, in place of another or besides."""
    found = [
        (c, s)
        for c in t.events("Commit")
        if "stores" in c
        for s in t.events("Store")
        if s["term"] != c["term"] and s["node"] != c["node"]
    ]
    if not (choice := t.pick(rng, found)):
        return None
    line, store = choice
    line["stores"] = [r for r in line["stores"] if r[0] != store["node"]] + [ref(store)]
    t.hear(line, store)
    return f"{name(line)} counts {name(store)}"


@doctored
def store_of_a_stranger_counted(t: Trace, rng: random.Random) -> str | None:
    """A Commit counts the Store of a node that is no voter."""
    found = [
        (c, s)
        for s in t.events("Store")
        for c in t.events("Commit")
        if "stores" in c and c["term"] == s["term"] and s["node"] not in t.voters_by(c)
    ]
    if not (choice := t.pick(rng, found)):
        return None
    line, store = choice
    line["stores"][rng.randrange(len(line["stores"]))] = ref(store)
    t.hear(line, store)
    return f"{name(line)} counts {name(store)}"


@doctored
def store_counted_unheard(t: Trace, rng: random.Random) -> str | None:
    """A Commit counts a Store that the leader has not heard of."""
    found = [(c, r) for c in t.events("Commit") for r in c.get("stores", ()) if r[0] != c["node"]]
    if not found:
        return None
    line, reference = rng.choice(found)
    t.deafen(line, t.cited(reference))
    return f"{name(line)} has not heard {reference}"


@doctored
def store_counted_and_never_made(t: Trace, rng: random.Random) -> str | None:
    """A Store that a Commit counts is taken out: what the Commit cites then is no Store that reaches as far."""
    found = [
        (c, s)
        for c in t.events("Commit")
        for r in c.get("stores", ())
        if (s := t.cited(r))["last"] >= c["runs"][-1][1]
        and len([r for r in c["stores"] if t.cited(r)["last"] >= c["runs"][-1][1]]) == t.majority(c)
        and not (t.file(s)[s["seq"] - 2]["event"] == "Store" and t.file(s)[s["seq"] - 2]["last"] >= c["runs"][-1][1])
    ]
    if not found:
        return None
    line, store = rng.choice(found)
    t.remove(store)
    return f"{name(store)} for {name(line)}"


@doctored
def commit_goes_too_far(t: Trace, rng: random.Random) -> str | None:
    """A leader commits one entry more than half of the voters have stored, as far as it cites them."""
    found = [
        c
        for c in t.events("Commit")
        if "stores" in c and sum(t.cited(r)["last"] > c["runs"][-1][1] for r in c["stores"]) < t.majority(c)
    ]
    if not found:
        return None
    line = rng.choice(found)
    line["runs"][-1][1] += 1
    line["digest"] = t.digests().get(tuple(line["runs"][-1][1:]), line["digest"])
    return name(line)


@doctored
def commit_of_another_entry(t: Trace, rng: random.Random) -> str | None:
    """A Commit names another term for the entries it covers than they have in the node's log."""
    if not (line := _one(t, rng, "Commit")):
        return None
    run = rng.choice(line["runs"])
    run[2] = rng.choice([n for n in (*t.rules(), run[2] + 1) if n != run[2]])
    return f"{name(line)} says {line['runs']}"


@doctored
def commit_leaves_a_hole(t: Trace, rng: random.Random) -> str | None:
    """A Commit does not continue the one before."""
    if not (line := _one(t, rng, "Commit")):
        return None
    line["runs"][0][0] += rng.choice((-1, 1)) if line["runs"][0][0] > 1 else 1
    return f"{name(line)} says {line['runs']}"


@doctored
def commit_of_an_older_term(t: Trace, rng: random.Random) -> str | None:
    """A leader commits an older term's entries by counting, without one of its own above (figure 8 of Raft)."""
    found = [c for c in t.events("Commit") if "stores" in c and len(c["runs"]) > 1]
    known = t.digests()
    found = [c for c in found if tuple(c["runs"][-2][1:]) in known]
    if not found:
        return None
    line = rng.choice(found)
    line["runs"].pop()
    last, term = line["runs"][-1][1:]
    line["epochs"] = [e for e in line.get("epochs", ()) if e[0] <= last]
    line["digest"] = known[last, term]
    return f"{name(line)} says {line['runs']}"


@doctored
def commit_beyond_the_one_cited(t: Trace, rng: random.Random) -> str | None:
    """A follower commits further than the Commit it cites."""
    found = [
        (c, d)
        for c in t.events("Commit")
        if "leader_commit" in c
        for d in t.events("Commit")
        if d["node"] != c["node"] and d["runs"][-1][1] < c["runs"][-1][1]
    ]
    if not (choice := t.pick(rng, found)):
        return None
    line, other = choice
    line["leader_commit"] = ref(other)
    t.hear(line, other)
    return f"{name(line)} cites {name(other)}"


@doctored
def commit_without_a_source(t: Trace, rng: random.Random) -> str | None:
    """A follower commits and cites nothing, or a Commit of its own, or what is no Commit."""
    if not (line := _commit(t, rng, "leader_commit")):
        return None
    told = t.cited(line["leader_commit"])
    own = [e for e in t.file(line)[: line["seq"] - 1] if e["event"] == "Commit"]
    choice = rng.randrange(3)
    if choice == 0 and own:
        line["leader_commit"] = ref(own[-1])
    elif choice == 1 and t.file(told)[told["seq"] - 2]["event"] != "Commit":
        line["leader_commit"] = ref(t.file(told)[told["seq"] - 2])
    else:
        del line["leader_commit"]
    return f"{name(line)} cites {line.get('leader_commit')}"


@doctored
def commit_unheard(t: Trace, rng: random.Random) -> str | None:
    """A follower cites a Commit that it has not heard of."""
    if not (line := _commit(t, rng, "leader_commit")):
        return None
    t.deafen(line, t.cited(line["leader_commit"]))
    return name(line)


@doctored
def commit_by_a_follower(t: Trace, rng: random.Random) -> str | None:
    """Who does not lead counts Stores."""
    found = [c for c in t.events("Commit") if "leader_commit" in c and not t.leads(c)]
    if not found:
        return None
    line = rng.choice(found)
    del line["leader_commit"]
    line["stores"] = []
    for store in rng.sample(stores := t.events("Store"), min(2 * t.majority(line), len(stores))):
        if not t.follows(store, line):
            line["stores"].append(ref(store))
            t.hear(line, store)
    return name(line)


@doctored
def commit_before_the_store(t: Trace, rng: random.Random) -> str | None:
    """A follower commits what its log gets only by its next Store."""
    found = [
        c
        for c in t.events("Commit")
        if not t.leads(c)
        and (s := t.file(c)[c["seq"] - 2])["event"] == "Store"
        and t.stored(t.file(c)[s["seq"] - 2])[0] < c["runs"][-1][1]
        and not any(e["event"] == "Append" for e in t.file(c)[: c["seq"]])
        and not t.follows(t.cited(c["leader_commit"]), s)
    ]
    if not found:
        return None
    line = rng.choice(found)
    t.swap(line)
    return name(line)


@doctored
def commit_of_the_losing_side(t: Trace, rng: random.Random) -> str | None:
    """A node takes for committed what it has at an index where another entry was committed."""
    agreed = {i: term for c in t.events("Commit") for a, b, term in c["runs"] for i in range(a, b + 1)}
    commits = t.events("Commit")
    found = []
    for line in (e for e in t.node_events() if e["event"] != "Exit"):
        log = t.log(t.stored(line))
        wrong = [i for i, term in enumerate(log, 1) if agreed.get(i, term) != term]
        if wrong and (log := log[: wrong[0]]) and t.committed(line) < len(log):
            found += [(line, c, log) for c in commits if c["node"] != line["node"] and c["runs"][-1][1] >= len(log)]
    if not (choice := t.pick(rng, found)):
        return None
    here, cited, log = choice
    first = t.committed(here) + 1
    terms = sorted(set(log[first - 1 :]))
    runs = [[max(first, log.index(n) + 1), len(log) - log[::-1].index(n), n] for n in terms]
    rules, known = t.rules(), t.digests()
    epochs = [[r[0], rules[r[2]].appends[0]["epoch"]] for r in runs if r[0] == rules[r[2]].first]
    evidence = {"leader_commit": ref(cited)} | ({"epochs": epochs} if epochs else {})
    digest = known.get((len(log), log[-1]), "0123456789abcdef")
    line = t.hear(t.insert(here, "Commit", runs=runs, digest=digest, **evidence), cited)
    return f"{name(line)} says {runs}"


# --- acknowledgements ----------------------------------------------------------------------------------------------


@doctored
def ack_beyond_the_commit(t: Trace, rng: random.Random) -> str | None:
    """A LEADER acknowledges more than it knows committed."""
    if not (line := _one(t, rng, "Ack")):
        return None
    line["last"] = t.committed(line) + rng.randint(1, 3)
    return f"{name(line)} says {line['last']}"


@doctored
def ack_of_what_was_not_written_here(t: Trace, rng: random.Random) -> str | None:
    """A LEADER acknowledges its own epoch record, or what is before it."""
    if not (line := _one(t, rng, "Ack")):
        return None
    line["first"] = rng.randint(0, t.rules()[line["term"]].first)
    return f"{name(line)} says {line['first']}"


@doctored
def ack_after_lose(t: Trace, rng: random.Random) -> str | None:
    """Who has lost the term acknowledges writes of it."""
    found = [
        (e, a)
        for e in t.events("Lose")
        for a in t.events("Ack")
        if (a["node"], a["inc"], a["term"]) == (e["node"], e["inc"], e["term"])
    ]
    if not found:
        return None
    lose, ack = rng.choice(found)
    return name(t.insert(lose, "Ack", first=ack["first"], last=ack["last"]))


@doctored
def ack_by_another(t: Trace, rng: random.Random) -> str | None:
    """A node acknowledges what the leader of its term has written."""
    found = [
        (e, a)
        for a in t.events("Ack")
        for e in t.node_events()
        if e["term"] == a["term"] and e["node"] != a["node"] and e["event"] != "Exit"
    ]
    if not found:
        return None
    line, ack = rng.choice(found)
    return name(t.insert(line, "Ack", first=ack["first"], last=ack["last"]))
