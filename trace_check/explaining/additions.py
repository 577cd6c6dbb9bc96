"""Events whose absence may be what is wrong: for each kind of refused event, those it might have needed before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trace_check.explaining.edits import FRESH, Describe, Edit
from trace_check.explaining.piece import Piece, age, key
from trace_check.schema import Event, Reference

# More than any number of changed fields that is worth telling.
COST = 10


class Additions:
    """Makes the edits that add one event, given all that was read and the event that was refused."""

    def __init__(self, piece: Piece, refused: Event, describe: Describe) -> None:
        self._piece = piece
        self._refused = refused
        self._at = key(refused)
        self._describe = describe
        self._count = 0
        self._events: dict[str, list[Event]] = {}
        for file in sorted(piece, key=lambda f: (f[0], age(f))):
            self._events.setdefault(file[0], []).extend(piece[file])
        own = self._events[refused["node"]]
        self._earlier = own[: next(i for i, e in enumerate(own) if key(e) == self._at)]

    def all(self) -> Iterator[Edit]:
        """Every edit there is."""
        refused = self._refused
        match refused["event"]:
            case "Invoke" | "Fail" | "Unknown":
                pass
            case "Ok":
                yield from self._invoke()
            case "Start":
                yield from self._candidacy(refused["vote"])
            case name:
                yield from self._lose()
                yield from self._restart()
                yield from self._transfers()
                if name == "Win":
                    yield from self._votes()
                if name == "Grant":
                    yield from self._candidacy(refused["candidate"])
                if name in ("Append", "Ack", "Activate"):
                    yield from self._activate()
                if name in ("Activate", "Ack"):
                    yield from self._commit()
                if name == "Append":
                    yield from self._win()
                    yield from self._append()
                if name == "Commit":
                    yield from self._stores()
                if name in ("Commit", "Campaign", "Grant"):
                    yield from self._own_store()

    # --- making an edit ------------------------------------------------------------------------------------------

    def _new(self, near: Event, name: str, term: int, own: dict[str, Any], after: list[Reference]) -> Event:
        self._count += 1
        shared = {field: near[field] for field in ("v", "cluster", "node", "inc")}
        event = {**shared, "seq": -self._count, "ts": near["ts"], "event": name, "term": term, **own}
        return {**event, "after": after} if after else event

    def _here(self, what: str, name: str, term: int, own: dict[str, Any], after: list[Reference] | None = None) -> Edit:
        """An event of the refused event's node, right before it."""
        event = self._new(self._refused, name, term, own, after or [])
        where = self._describe.line(self._at)
        return Edit(f"if {event['node']} had {what}, before {where}", COST, False, added=event, before=self._at)

    def _elsewhere(
        self, node: str, what: str, name: str, own: dict[str, Any], after: list[Reference], cited_in: str
    ) -> Iterator[Edit]:
        """An event of another node in the refused event's term, which the refused event has heard of and cites.

        As early as the node may have been in that term, and as late.
        """
        events, refused = self._events.get(node, []), self._refused
        slots: dict[int, None] = {}
        for late in (True, False):
            slots[sum(e["term"] < refused["term"] or (late and e["term"] == refused["term"]) for e in events)] = None
        for slot in slots:
            if not slot:
                continue
            event = self._new(events[slot - 1], name, refused["term"], own, after)
            cited = list(key(event))
            old = refused.get(cited_in)
            value = cited if cited_in == "campaign" else [*(r for r in old or () if r[0] != node), cited]
            changes = {self._at: {cited_in: value}} if cited_in else {}
            behind = key(events[slot - 1])
            text = f"if {node} had {what}, after {self._describe.line(behind)}"
            if cited_in:
                text += f", and {self._describe.line(self._at)} cited it"
            heard = {self._at: [cited]} if cited_in else {}
            yield Edit(text, COST, False, changes, heard, added=event, behind=behind)

    # --- what is known of a node before the refused event --------------------------------------------------------

    def _latest(self, *names: str, term: int | None = None) -> Event | None:
        found = (e for e in reversed(self._earlier) if e["event"] in names and term in (None, e["term"]))
        return next(found, None)

    def _log(self, events: list[Event]) -> dict[str, Any]:
        """The end of a node's log as it last showed it."""
        for event in reversed(events):
            if event["event"] in ("Start", "Store"):
                return {"last": event["last"], "last_term": event["last_term"], "digest": event["digest"]}
        return {"last": 0, "last_term": 0, "digest": "0" * 16}

    def _durable(self) -> dict[str, Any]:
        """What the node must have on its disk by what it has written down."""
        term, vote = max((e["term"] for e in self._earlier), default=0), None
        for event in self._earlier:
            if event["term"] == term:
                said = {"Campaign": event["node"], "Grant": event.get("candidate"), "Start": event.get("vote")}
                vote = said.get(event["event"], vote)
        return {"term": term, "vote": vote, **self._log(self._earlier)}

    def state_found(self) -> dict[str, Any]:
        """For a Start: what it shows otherwise than the node had on its disk."""
        if not self._earlier:
            return {}
        return {name: value for name, value in self._durable().items() if self._refused[name] != value}

    def _position(self, node: str) -> dict[str, Any]:
        refused = self._refused
        log = self._log([e for e in self._events.get(node, []) if e["term"] <= refused["term"]])
        return {"last": log["last"], "last_term": log["last_term"]}

    def _in_term(self, *names: str) -> Iterator[Event]:
        for events in self._events.values():
            yield from (e for e in events if e["event"] in names and e["term"] == self._refused["term"])

    def _voters(self) -> list[str]:
        return next((e["voters"] for events in self._events.values() for e in events if "voters" in e), [])

    # --- one kind of event each ----------------------------------------------------------------------------------

    def _lose(self) -> Iterator[Edit]:
        won = self._latest("Win")
        if won is not None:
            term = won["term"]
            yield self._here(f"written Lose of term {term}", "Lose", term, {})

    def _restart(self) -> Iterator[Edit]:
        start = self._latest("Start")
        if start is None:
            return
        counter, _ = age((start["node"], start["inc"]))
        inc = f"{counter + 1}-00000000"
        if any(age(file)[0] == counter + 1 for file in self._piece if file[0] == start["node"]):
            return
        last = self._earlier[-1]
        own = {**self._durable(), "disk": start["disk"], "voters": start["voters"]}
        del own["term"]
        event = self._new(self._refused, "Start", last["term"], own, [])
        where = self._describe.line(key(last))
        yield Edit(
            f"if {start['node']} had ended and started again, after {where}", COST + 1, False, added=event,
            before=self._at, restart=inc,
        )

    def _transfers(self) -> Iterator[Edit]:
        for to in ("UNKNOWN", "FOLLOWER", "OBSERVER"):
            term = self._earlier[-1]["term"] if self._earlier else 0
            yield self._here(f"written Transfer to {to}", "Transfer", term, {"to": to})

    def _votes(self) -> Iterator[Edit]:
        refused = self._refused
        node, term = refused["node"], refused["term"]
        own = self._latest("Campaign", term=term)
        if own is None:
            voters = {**self._position(node), "voters": self._voters()}
            edit = self._here(f"written a Campaign for term {term}", "Campaign", term, voters)
            assert edit.added is not None
            counted = [*(r for r in refused["grants"] if r[0] != node), list(key(edit.added))]
            yield Edit(edit.text, COST, False, {self._at: {"grants": counted}}, added=edit.added, before=self._at)
            return
        for voter in self._voters():
            if voter != node:
                campaign = list(key(own))
                vote = {"candidate": node, "campaign": campaign, **self._position(voter)}
                yield from self._elsewhere(
                    voter, f"written a Grant for {node} in term {term}", "Grant", vote, [campaign], "grants"
                )

    def _candidacy(self, candidate: str | None) -> Iterator[Edit]:
        if candidate is None:
            return
        own = {**self._position(candidate), "voters": self._voters()}
        cited_in = "campaign" if self._refused["event"] == "Grant" else ""
        what = f"written a Campaign for term {self._refused['term']}"
        yield from self._elsewhere(candidate, what, "Campaign", own, [], cited_in)

    def _win(self) -> Iterator[Edit]:
        node, term = self._refused["node"], self._refused["term"]
        own = self._latest("Campaign", term=term)
        if own is not None:
            votes = [list(key(e)) for e in self._in_term("Grant") if e["candidate"] == node]
            yield self._here(f"written Win of term {term}", "Win", term, {"grants": [list(key(own)), *votes]}, votes)

    def _append(self) -> Iterator[Edit]:
        term = self._refused["term"]
        newest = self._latest("Append", term=term)
        if newest is not None and newest["last"] + 1 < self._refused["first"]:
            first, last = newest["last"] + 1, self._refused["first"] - 1
            own = {"first": first, "last": last, "digest": FRESH}
            yield self._here(f"written an Append from {first} to {last}", "Append", term, own)

    def _activate(self) -> Iterator[Edit]:
        term = self._refused["term"]
        epochs = [e["epoch"] for e in self._earlier if e["event"] == "Append" and "epoch" in e and e["term"] == term]
        if epochs:
            yield self._here(f"written Activate in term {term}", "Activate", term, {"epoch": epochs[0]})

    def _commit(self) -> Iterator[Edit]:
        """By the newest Stores of the term, up to each end of an Append of it."""
        term = self._refused["term"]
        stores = {e["node"]: list(key(e)) for e in self._in_term("Store")}
        before = self._latest("Commit")
        begin = before["runs"][-1][1] + 1 if before and before["runs"] and before["inc"] == self._refused["inc"] else 1
        for append in self._earlier:
            if append["event"] == "Append" and append["term"] == term and stores and begin <= append["last"]:
                own: dict[str, Any] = {
                    "runs": [[begin, append["last"], term]], "digest": append["digest"], "stores": list(stores.values())
                }
                if append["first"] == begin and "epoch" in append:
                    own["epochs"] = [[begin, append["epoch"]]]
                after = [r for node, r in stores.items() if node != self._refused["node"]]
                yield self._here(f"written a Commit up to {append['last']}", "Commit", term, own, after)

    def _stores(self) -> Iterator[Edit]:
        refused = self._refused
        if "stores" not in refused or not refused["runs"]:
            return
        last, last_term = refused["runs"][-1][1:]
        appended = next((e for e in self._in_term("Append") if e["last"] == last), None)
        if appended is not None:
            own = {"last": last, "last_term": last_term, "digest": appended["digest"]}
            for voter in self._voters():
                what = f"written a Store up to {last} in term {refused['term']}"
                yield from self._elsewhere(voter, what, "Store", own, [list(key(appended))], "stores")

    def _own_store(self) -> Iterator[Edit]:
        """Of the log that the refused event takes for the node's own, in the term in which the node was."""
        refused = self._refused
        if refused["event"] == "Commit":
            last, last_term = refused["runs"][-1][1:] if refused["runs"] else (0, 0)
            term = refused["term"]
        else:
            last, last_term = refused["last"], refused["last_term"]
            term = self._earlier[-1]["term"] if self._earlier else 0
        for events in self._events.values():
            for end in events:
                if end["event"] == "Append" and (end["last"], end["term"]) == (last, last_term):
                    own = {"last": last, "last_term": last_term, "digest": end["digest"]}
                    heard = [list(key(end))] if end["node"] != refused["node"] else []
                    yield self._here(f"written a Store up to {last}", "Store", term, own, heard)

    def _invoke(self) -> Iterator[Edit]:
        op = self._refused["op"]
        kind = {"kind": "read"} if "serve" in self._refused else {}
        yield self._here(f"written Invoke of {op}", "Invoke", 0, {"op": op, **kind})

