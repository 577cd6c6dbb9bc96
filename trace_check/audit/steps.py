"""What an event stands for, in steps of HACoordination (docs/audit.md has the table), and what these are called."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Any

from trace_check.audit.state import State, Step, Term
from trace_check.read import Source
from trace_check.schema import Event, Reference

# Looks up a reference: of which incarnation, to what, and the kinds of events that it may be.
Cited = Callable[[Source, Reference, tuple[str, ...]], Event | None]


def steps(source: Source, event: Event, nodes: Container[str], crashed: bool, cited: Cited) -> Iterator[Step]:
    """The steps that an event stands for. `nodes` are all there are; `crashed`: after one that did not exit."""
    name, node, term = event["event"], source.node, event["term"]

    def step(action: str = name, **own: Any) -> Step:
        return Step(action, node, term, source, source.consumed, **own)

    at: dict[str, Any] = {field: event[field] for field in ("last", "last_term") if field in event}
    match name:
        case "Start":
            if crashed:
                vote = event["vote"]
                store = step("Replace", **at), step("Recover", **at)
                yield from (step("StepAside"), *store)
                if vote in nodes:
                    yield from (step("Vote", other=vote), *store)
                yield step("Crash")
            yield step(**at, other=event["vote"], **_voters(event))
            if "image" in event:
                last, last_term, _ = event["image"]
                yield step("Learn", last=last, last_term=last_term)
        case "Campaign":
            yield from (step("Keep", **at), step(**at, **_voters(event)))
        case "Grant":
            asked, candidate = cited(source, event["campaign"], ("Campaign",)), event["candidate"]
            told = asked is not None and asked["term"] == term and event["campaign"][0] == candidate
            yield from (step("Keep", **at), step(**at, other=candidate, told=told))
        case "Win":
            by = [r[0] for r in event["grants"] if _is_vote(source, term, r, cited)]
            told = node in by and len(set(by)) == len(event["grants"])
            yield step(by=tuple(by), told=told, named=tuple(by))
        case "Append" if "members" in event:
            names = [name for name, _, _ in event["members"]]
            told = event["first"] == event["last"] and len(set(names)) == len(names)
            told = told and _stores(source, event, cited) is not None
            yield step("Change", first=event["first"], last=event["last"], last_term=term, told=told)
        case "Append":
            yield step(first=event["first"], last=event["last"], last_term=term, epoch=event.get("epoch"))
        case "Store":
            yield step(**at)
        case "Commit":
            _, last, last_term = event["runs"][-1] if event["runs"] else (0, 0, 0)
            at = {"last": last, "last_term": last_term, "epochs": tuple((i, e) for i, e in event.get("epochs", ()))}
            if "stores" in event:
                stores = _stores(source, event, cited)
                reach = [voter for voter, stored in (stores or {}).items() if stored >= last]
                named = tuple(stores or ())
                yield step(**at, by=tuple(reach), named=named, told=stores is not None and last > 0)
            else:
                whose = event.get("leader_commit", [node])
                heard = cited(source, whose, ("Commit", "Install", "Start")) if whose[0] != node else None
                yield step("Learn", **at, told=heard is not None and 0 < last <= _committed(heard))
        case "Image":
            yield step("Learn", **at)
        case "Install":
            shown = cited(source, event["image"], ("Image", "Install", "Start"))
            yield step(**at, by=(event["image"][0],), told=shown is not None and _image(shown) == _image(event))
        case "Activate":
            yield step(epoch=event["epoch"])
        case "Ack":
            yield step(first=event["first"], last=event["last"], last_term=event.get("entry_term", term))
        case "Transfer":
            yield step(other=event["to"])
        case "ReadStart" | "Confirm" | "ReadServe":
            yield step("Show")  # of reads HACoordination knows nothing (spec/Reads.tla)
        case _:
            yield step()


def _voters(event: Event) -> dict[str, Any]:
    """What a Start or a Campaign says of the voters."""
    voters: list[str] = event["voters"]
    return {"named": tuple(voters), "told": len(set(voters)) == len(voters)}


def _stores(source: Source, event: Event, cited: Cited) -> dict[str, int] | None:
    """How far the Stores that an event cites reach, by node; None if any is not one of its term."""
    references = event.get("stores", [])
    found = [(reference[0], cited(source, reference, ("Store",))) for reference in references]
    stores = {name: e["last"] for name, e in found if e is not None and e["term"] == event["term"]}
    return stores if len(stores) == len(references) else None


def _is_vote(source: Source, term: int, reference: Reference, cited: Cited) -> bool:
    """Whether a reference is to a vote for this node in a term: to its own Campaign in this incarnation, or a Grant."""
    if reference[0] == source.node:
        own = cited(source, reference, ("Campaign",))
        return own is not None and own["term"] == term and reference[1] == source.inc
    grant = cited(source, reference, ("Grant",))
    return grant is not None and grant["term"] == term and grant["candidate"] == source.node


def _image(event: Event) -> list[int | str]:
    """The image that an Image, an Install or a Start shows."""
    if event["event"] == "Start":
        return list(event.get("image", ()))
    return [event["last"], event["last_term"], event["digest"]]


def _committed(event: Event) -> int:
    """How far a Commit, an Install or a Start with an image shows entries to be committed."""
    match event["event"]:
        case "Commit":
            return event["runs"][-1][1] if event["runs"] else 0
        case "Install":
            return int(event["last"])
    return int(event.get("image", (0,))[0])


def action(step: Step) -> str:
    """A step in the words of the specification."""
    match step.action:
        case "Open":
            return f"Win({step.node}) with epoch {step.epoch} in term {step.term}"
        case "Grant":
            return f"Grant({step.node}, {step.other}) in term {step.term}, its log ending at {_at(step)}"
        case "Transfer":
            return f"Transfer({step.node}, {step.other})"
        case "Commit" | "Learn":
            return f"Commit({step.node}) up to {_at(step)} in term {step.term}"
        case "Append" | "Change" | "Ack":
            return f"{step.action}({step.node}) of {step.first} to {step.last} in term {step.term}"
        case "Start" | "Campaign" | "Store" | "Install":
            return f"{step.action}({step.node}) in term {step.term}, its log ending at {_at(step)}"
    return f"{step.action}({step.node}) in term {step.term}"


def _at(step: Step) -> str:
    return f"{step.last} of term {step.last_term}"


def describe(state: State, step: Step) -> str:
    """What the protocol's state is for the node and the term of a step."""
    member, term = state.members[step.node], state.terms.get(step.term, Term())
    end = f"{member.log[-1].last} of term {member.log[-1].term}" if member.log else "0"
    found = f"{step.node} in term {member.term}, {member.type}, {member.role}, its log ending at {end}"
    if step.term:
        found += f"; in term {step.term} its vote is {term.vote.get(step.node)}"
    if term.log:
        found += f", the leader's log ends at {term.log[-1].last}, commit is {term.commit}"
    return found
