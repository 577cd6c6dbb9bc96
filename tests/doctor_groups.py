"""Kinds of doctored traces: configurations, and who counts by them (see doctor.py)."""

from __future__ import annotations

import random
from collections.abc import Iterator

from doctor import Event, Position, Trace, doctored, name, ref, voters

Members = list[list[str]]
STRANGER = ["x9", "learner", "x9:7000"]


def _changes(t: Trace) -> Iterator[tuple[Event, Members]]:
    """Every Append of a configuration, with the members by the one before it."""
    for line in t.events("Append"):
        if "members" in line:
            yield line, t.group(_before(t, line))


def _before(t: Trace, line: Event) -> Position:
    """The end of the leader's log before it appends this."""
    rule = t.rules()[line["term"]]
    return (line["first"] - 1, line["term"]) if line["first"] > rule.first else rule.base


def _addressed(members: Members) -> Members:
    """With an address for each."""
    return [[node, part, address or f"{node}:7000"] for node, part, address in members]


def _one(t: Trace, rng: random.Random) -> tuple[Event, Members] | None:
    found = list(_changes(t))
    return rng.choice(found) if found else None


def _visible(line: Event, before: Members) -> bool:
    """Whether somebody joins, leaves or changes part: a founder's move alone can't be seen."""
    return {(node, part) for node, part, _ in line["members"]} != {(node, part) for node, part, _ in before}


# --- what a founder shows ------------------------------------------------------------------------------------------


@doctored
def founders_differ(t: Trace, rng: random.Random) -> str | None:
    """A Start shows a member of the group as it was set up that no other does, or a part that is another."""
    found = [e for e in t.events("Start") if "members" in e]
    if len(found) < 2:
        return None
    line = rng.choice(found)
    # No list is shared with the other Starts: each came from a line of its own.
    members = line["members"]
    match rng.randrange(3):
        case 0:
            members.append(STRANGER)
        case 1:
            members.remove(next(m for m in members if m[1] == "observer"))
        case _:
            member = next(m for m in members if m[1] == "observer")
            member[1] = "learner"
    return f"{name(line)} shows {members}"


# --- what a leader appends -----------------------------------------------------------------------------------------


@doctored
def two_nodes_changed_at_once(t: Trace, rng: random.Random) -> str | None:
    """A configuration differs in two nodes from the one before."""
    found = [line for line, before in _changes(t) if _visible(line, before)]
    if not found:
        return None
    line = rng.choice(found)
    line["members"].append(STRANGER)
    return name(line)


@doctored
def nothing_changed(t: Trace, rng: random.Random) -> str | None:
    """A configuration is the one before once more."""
    found = [(line, before) for line, before in _changes(t) if all(address for _, _, address in before)]
    if not found:
        return None
    line, before = rng.choice(found)
    line["members"] = before
    return name(line)


@doctored
def second_change_before_the_first_is_committed(t: Trace, rng: random.Random) -> str | None:
    """A leader appends a configuration right after another, which nobody can have stored yet."""
    if not (found := _one(t, rng)):
        return None
    line = found[0]
    at = line["last"] + 1
    again = t.insert(line, "Append", first=at, last=at, digest="0123456789abcdef", members=[*line["members"], STRANGER])
    return name(again)


@doctored
def change_before_the_epoch_is_committed(t: Trace, rng: random.Random) -> str | None:
    """A leader changes the group in the very entry that should fence the leaders before it."""
    found = [rule.appends[0] for rule in t.rules().values() if rule.appends]
    if not found:
        return None
    line = rng.choice(found)
    line["members"] = [*_addressed(t.group(_before(t, line))), STRANGER]
    return name(line)


@doctored
def change_before_the_one_before_is_known_committed(t: Trace, rng: random.Random) -> str | None:
    """A leader's Commits are taken out, so that it does not know the configuration before committed."""
    found = []
    for line, _ in _changes(t):
        rule = t.rules()[line["term"]]
        known = [a["last"] for a in rule.appends if "members" in a and a["last"] < line["first"]] or [rule.first]
        commits = [e for e in t.file(line)[: line["seq"]] if e["event"] == "Commit" and e["runs"][-1][1] >= known[-1]]
        if commits and commits[0]["term"] == line["term"] and known[-1] > rule.first:
            found.append(commits)
    if not found:
        return None
    lines = rng.choice(found)
    for line in reversed(lines):
        t.remove(line)
    return f"{len(lines)} from {name(lines[0])} on"


@doctored
def change_in_company(t: Trace, rng: random.Random) -> str | None:
    """A configuration shares its Append with another entry."""
    if not (found := _one(t, rng)):
        return None
    found[0]["last"] += 1
    return name(found[0])


@doctored
def member_named_twice(t: Trace, rng: random.Random) -> str | None:
    """A configuration names one member twice."""
    if not (found := _one(t, rng)):
        return None
    members = found[0]["members"]
    members.append(rng.choice(members)[:])
    return f"{name(found[0])} names {members}"


@doctored
def two_members_at_one_address(t: Trace, rng: random.Random) -> str | None:
    """Who joins has the address of a member."""
    found = []
    for line, before in _changes(t):
        names = [node for node, _, _ in before]
        joins = [m for m in line["members"] if m[0] not in names]
        found += [(line, m, other) for m in joins for other in line["members"] if other is not m and other[2]]
    if not found:
        return None
    line, member, other = rng.choice(found)
    member[2] = other[2]
    return f"{name(line)} names {line['members']}"


@doctored
def leader_removes_itself(t: Trace, rng: random.Random) -> str | None:
    """A leader leaves the group that it leads, or takes the vote from itself."""
    if not (found := _one(t, rng)):
        return None
    line, before = found
    line["members"] = _addressed(before)
    own = next(m for m in line["members"] if m[0] == line["node"])
    own[1] = "observer"
    if rng.random() < 0.5:
        line["members"].remove(own)
    return name(line)


@doctored
def voter_is_demoted(t: Trace, rng: random.Random) -> str | None:
    """A voter loses its vote and stays: as a learner, or as an observer though nobody knows what the others have."""
    if not (found := _one(t, rng)):
        return None
    line, before = found
    line["members"] = _addressed(before)
    member = rng.choice([m for m in line["members"] if m[1] == "voter"])
    member[1] = rng.choice(("learner", "observer"))
    if member[1] == "observer":
        line.pop("stores", None)
    return f"{name(line)} names {line['members']}"


@doctored
def vote_from_the_beginning(t: Trace, rng: random.Random) -> str | None:
    """A node joins as a voter, or an observer becomes one."""
    if not (found := _one(t, rng)):
        return None
    line, before = found
    line["members"] = _addressed(before)
    observers = [m for m in line["members"] if m[1] == "observer"]
    member = rng.choice([*observers, STRANGER[:]])
    member[1] = "voter"
    if member not in line["members"]:
        line["members"].append(member)
    return f"{name(line)} names {line['members']}"


@doctored
def stores_that_a_change_depends_on_left_out(t: Trace, rng: random.Random) -> str | None:
    """A learner becomes a voter, or a voter is removed, and nothing says that enough nodes have caught up."""
    found = [line for line, before in _changes(t) if set(voters(line["members"])) != set(voters(before))]
    if not found:
        return None
    line = rng.choice(found)
    line.pop("stores", None)
    return name(line)


@doctored
def learner_has_not_caught_up(t: Trace, rng: random.Random) -> str | None:
    """A learner becomes a voter by a Store of it that ends before what the leader knows committed."""
    found = []
    for line, before in _changes(t):
        for node in set(voters(line["members"])) - set(voters(before)):
            stores = [e for e in t.events("Store") if e["node"] == node and e["term"] == line["term"]]
            found += [(line, s) for s in stores if s["last"] < t.committed(line)]
    if not (choice := t.pick(rng, found)):
        return None
    line, store = choice
    line["stores"] = [r for r in line["stores"] if r[0] != store["node"]] + [ref(store)]
    t.hear(line, store)
    return f"{name(line)} by {name(store)}"


# --- who counts ----------------------------------------------------------------------------------------------------


@doctored
def voters_of_an_older_configuration(t: Trace, rng: random.Random) -> str | None:
    """A candidate, or who starts, names the voters of a configuration that is not the last in its log."""
    found = []
    groups = [t.voters, *(voters(e["members"]) for e in t.events("Append") if "members" in e)]
    for line in t.events("Campaign", "Start"):
        if line["last"]:
            found += [(line, group) for group in groups if set(group) != set(line["voters"])]
    if not found:
        return None
    line, line["voters"] = rng.choice(found)
    return f"{name(line)} names {line['voters']}"


@doctored
def candidate_without_a_vote(t: Trace, rng: random.Random) -> str | None:
    """A node stands for election that is a learner, an observer or no member by the configuration it goes by."""
    found = []
    for line in t.node_events():
        position = t.stored(line)
        if line["event"] != "Exit" and not t.leads(line) and line["node"] not in (group := voters(t.group(position))):
            found.append((line, position, group))
    if not found:
        return None
    line, (last, last_term), group = rng.choice(found)
    return name(t.insert(line, "Campaign", term=line["term"] + 1, last=last, last_term=last_term, voters=group))


@doctored
def vote_of_no_voter_counted(t: Trace, rng: random.Random) -> str | None:
    """A Win counts the vote of a node that has none by the candidate's configuration."""
    found = []
    for win in t.events("Win"):
        campaign = next(t.cited(r) for r in win["grants"] if r[0] == win["node"])
        for node in {e["node"] for e in t.events("Start")} - set(campaign["voters"]):
            # Its last event before that term: what it says there is true to its log.
            lines = [e for life in t.lives(node) for e in life if e["term"] < win["term"]]
            if lines and lines[-1]["event"] != "Exit" and not t.leads(lines[-1]):
                found.append((campaign, lines[-1], win))
    rng.shuffle(found)
    for campaign, line, win in found:
        following = t.file(line)[line["seq"] :][:1]
        if t.follows(line, win) or any(t.follows(campaign, e) or e["term"] == win["term"] for e in following):
            continue
        last, last_term = t.stored(line)
        if (last_term, last) > (campaign["last_term"], campaign["last"]):
            continue
        grant = t.insert(
            line, "Grant", term=win["term"], candidate=win["node"], campaign=ref(campaign), last=last,
            last_term=last_term,
        )  # fmt: skip
        t.hear(grant, campaign)
        t.hear(win, grant)["grants"].append(ref(grant))
        return f"{name(win)} counts {name(grant)}"
    return None


@doctored
def commit_by_the_majority_before(t: Trace, rng: random.Random) -> str | None:
    """A leader commits by a majority of the voters before its last change, who are not one of those there are."""
    found = []
    for line, before in _changes(t):
        for commit in t.file(line)[line["seq"] :]:
            if "members" in commit:
                break
            last = commit["runs"][-1][1] if "stores" in commit else 0
            reach = [r for r in commit.get("stores", ()) if t.cited(r)["last"] >= last]
            old = [r for r in reach if r[0] in voters(before)][: len(voters(before)) // 2 + 1]
            if last and len(old) < t.majority(commit):
                found.append((commit, old))
    if not found:
        return None
    commit, commit["stores"] = rng.choice(found)
    return f"{name(commit)} counts {commit['stores']}"


@doctored
def removed_node_stores_its_removal(t: Trace, rng: random.Random) -> str | None:
    """A node stores the entry by which it is removed, which its leader does not send to it."""
    found = []
    for change, before in _changes(t):
        after = [node for node, _, _ in change["members"]]
        for node in (m[0] for m in before if m[0] not in after):
            comes_back = any(
                m[0] == node
                for e, _ in _changes(t)
                if e["term"] >= change["term"] and (e["term"], e["last"]) > (change["term"], change["last"])
                for m in e["members"]
            )
            lines = [e for life in t.lives(node) for e in life if e["term"] <= change["term"] and e["event"] != "Exit"]
            if not comes_back and lines and not t.follows(change, t.lives(node)[-1][-1]):
                found.append((lines[-1], change))
    rng.shuffle(found)
    for line, change in found:
        following = t.file(line)[line["seq"] :][:1]
        if any(t.follows(change, e) for e in following):
            continue
        own = {"last": change["last"], "last_term": change["term"], "digest": change["digest"]}
        return name(t.hear(t.insert(line, "Store", term=change["term"], **own), change))
    return None


@doctored
def configuration_written_as_data(t: Trace, rng: random.Random) -> str | None:
    """An Append does not say that it is a configuration, and later lines go by it."""
    found = []
    for line, before in _changes(t):
        for other in t.events("Campaign", "Start"):
            log = t.log((other["last"], other["last_term"]))
            here = len(log) >= line["last"] and log[line["last"] - 1] == line["term"]
            by = t.group((other["last"], other["last_term"]))
            if here and by is line["members"] and set(other["voters"]) != set(voters(before)):
                found.append(line)
    if not found:
        return None
    line = rng.choice(found)
    del line["members"]
    return name(line)
