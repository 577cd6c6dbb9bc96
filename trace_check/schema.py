"""Which fields each event has, of which type: the tables of docs/trace-format.md, and the check of one event.

`complaint` says what is wrong with one event. What most lines look like is in shapes.py, made from the same tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from trace_check.configuration import PARTS

# One decoded line; or of it what is left without `OF_THE_LINE`, as the judge has it.
Event = dict[str, Any]
# [node, inc, seq], once checked.
Reference = list[Any]

VERSION = 1
# Signed 64 bits, as writers in other languages have them; then every sum can still be printed or become a float.
LARGEST = (1 << 63) - 1
# What tells a line from all others, whatever it says.
OF_THE_LINE = ("v", "cluster", "node", "inc", "seq", "ts")
COMMON = (*OF_THE_LINE, "event", "term")

_is_digest = re.compile("[0-9a-f]{16}").fullmatch
_is_incarnation = re.compile("([0-9]{1,15})-([0-9a-f]{8})").fullmatch


def _are(kind: type, values: Iterable[object]) -> bool:
    # A subclass is no instance: JSON's true is no number.
    return set(map(type, values)) <= {kind}


def _are_naturals(values: Sequence[Any]) -> bool:
    return _are(int, values) and (not values or (min(values) >= 0 and max(values) <= LARGEST))


def _are_digests(values: Sequence[Any]) -> bool:
    return _are(str, values) and all(map(_is_digest, values))


def _are_references(values: Sequence[Any]) -> bool:
    try:
        for node, inc, seq in values:
            # JSON has no other value with three parts of which the last is an integer.
            if type(seq) is not int or not 0 < seq <= LARGEST or type(node) is not str or type(inc) is not str:
                return False
    except (TypeError, ValueError):
        return False
    return True


def _are_runs(values: Sequence[Any]) -> bool:
    try:
        for first, last, term in values:
            if type(first) is not int or type(last) is not int or type(term) is not int:
                return False
            if not (0 < first <= LARGEST and 0 <= last <= LARGEST and 0 < term <= LARGEST):
                return False
    except (TypeError, ValueError):
        return False
    return True


def _are_pairs(values: Sequence[Any]) -> bool:
    return _are(list, values) and set(map(len, values)) <= {2} and _are_naturals(list(chain.from_iterable(values)))


def _are_members(values: Sequence[Any]) -> bool:
    return (
        _are(list, values)
        and set(map(len, values)) <= {3}
        and _are(str, chain.from_iterable(values))
        and {part for _, part, _ in values} <= set(PARTS)
    )


def _are_images(values: Sequence[Any]) -> bool:
    return _are(list, values) and set(map(len, values)) <= {3} and _are_positions(values)


def _are_foundings(values: Sequence[Any]) -> bool:
    return (
        _are(list, values)
        and set(map(len, values)) <= {4}
        and _are_positions(values)
        and _are_naturals([epoch for *_, epoch in values])
        and min(last for last, *_ in values) > 0
    )


def _are_positions(values: Sequence[Any]) -> bool:
    return all(_are_naturals([last, term]) and _are_digests([digest]) for last, term, digest, *_ in values)


def _are_moments(values: Sequence[Any]) -> bool:
    try:
        return _are(list, values) and all(type(clock) is str and _are_naturals([now]) for clock, now in values)
    except (TypeError, ValueError):
        return False


def _lists(of: Check) -> Check:
    return lambda values: _are(list, values) and of(list(chain.from_iterable(values)))


# A type of the format: what people read in a complaint, and whether some values, one or more, are all of it.
Check = Callable[[Sequence[Any]], bool]
Kind = tuple[str, Check]
INTEGER: Kind = ("an integer of 0 or more, below 2^63", _are_naturals)
CODE: Kind = ("an integer of 64 bits", lambda values: _are(int, values) and _are_naturals(list(map(abs, values))))
ZERO: Kind = ("0, as clients have no term", lambda values: _are(int, values) and not any(values))
STRING: Kind = ("a string", lambda values: _are(str, values))
DIGEST: Kind = ("16 lower-case hexadecimal digits", _are_digests)
NAME_OR_NULL: Kind = ("a node's name or null", lambda values: set(map(type, values)) <= {str, type(None)})
NAMES: Kind = ("a list of names", _lists(STRING[1]))
REFERENCE: Kind = ("a reference [node, inc, seq]", _are_references)
REFERENCES: Kind = ("a list of references [node, inc, seq]", _lists(_are_references))
RUNS: Kind = ("a list of [first, last, term]", _lists(_are_runs))
PAIRS: Kind = ("a list of [index, epoch]", _lists(_are_pairs))
MEMBERS: Kind = (f"a list of [node, part, address], with a part of {', '.join(PARTS)}", _lists(_are_members))
BOOLEAN: Kind = ("true or false", lambda values: _are(bool, values))
OPERATION: Kind = ('"read" or "write"', lambda values: _are(str, values) and set(values) <= {"read", "write"})
IMAGE: Kind = ("an image [last, last_term, digest]", _are_images)
FOUNDING: Kind = ("[last, last_term, digest, epoch], with a last of 1 or more", _are_foundings)
MOMENT: Kind = ("[clock, nanoseconds]", _are_moments)

_LOG_END: dict[str, Kind] = {"last": INTEGER, "last_term": INTEGER}

NODE_EVENTS: dict[str, dict[str, Kind]] = {
    "Start": {"vote": NAME_OR_NULL, **_LOG_END, "digest": DIGEST, "disk": STRING, "voters": NAMES},
    "Campaign": {**_LOG_END, "voters": NAMES},
    "Grant": {"candidate": STRING, "campaign": REFERENCE, **_LOG_END},
    "Win": {"grants": REFERENCES},
    "Append": {"first": INTEGER, "last": INTEGER, "digest": DIGEST},
    "Store": {**_LOG_END, "digest": DIGEST},
    "Image": {**_LOG_END, "digest": DIGEST},
    "Install": {**_LOG_END, "digest": DIGEST, "image": REFERENCE},
    "Commit": {"runs": RUNS, "digest": DIGEST},
    "Activate": {"epoch": INTEGER},
    "Ack": {"first": INTEGER, "last": INTEGER},
    "ReadStart": {"index": INTEGER},
    "Confirm": {"start": REFERENCE},
    "ReadServe": {"start": REFERENCE, "confirms": REFERENCES, "index": INTEGER},
    "Lose": {},
    "Transfer": {"to": STRING},
    "Exit": {"code": CODE},
}
CLIENT_EVENTS: dict[str, dict[str, Kind]] = {
    "Invoke": {"op": STRING},
    "Ok": {"op": STRING, "index": INTEGER},
    "Fail": {"op": STRING, "error": STRING},
    "Unknown": {"op": STRING, "error": STRING},
}
OPTIONAL: dict[str, dict[str, Kind]] = {
    "Start": {"members": MEMBERS, "image": IMAGE, "founded": FOUNDING, "boot": STRING},
    "Append": {"epoch": INTEGER, "members": MEMBERS, "stores": REFERENCES},
    "Commit": {"stores": REFERENCES, "leader_commit": REFERENCE, "epochs": PAIRS},
    "Ack": {"entry_term": INTEGER},
    "Invoke": {"kind": OPERATION, "key": STRING, "idempotency": STRING, "at": MOMENT},
    "Ok": {
        "entry_term": INTEGER, "ack": REFERENCE, "serve": REFERENCE, "version": INTEGER, "wrote": BOOLEAN, "at": MOMENT
    },
    "Fail": {"at": MOMENT},
    "Unknown": {"at": MOMENT},
}
# Of an answer: the one or the other.
ANSWERS = (("entry_term", "ack"), ("serve",))
EVENTS = {**NODE_EVENTS, **CLIENT_EVENTS}



def _required(name: str) -> dict[str, Kind]:
    return {"ts": CODE, "term": ZERO if name in CLIENT_EVENTS else INTEGER, **EVENTS[name]}


def _answers(event: Event) -> bool:
    """Whether an Ok is the answer to a write or to a read."""
    return [all(field in event for field in answer) for answer in ANSWERS].count(True) == 1


def parse_incarnation(inc: object) -> tuple[int, str] | None:
    """Counter and random part of `COUNTER-RANDOM`; None when it is not of that form."""
    found = _is_incarnation(inc) if isinstance(inc, str) else None
    return (int(found[1]), found[2]) if found else None


def complaint(event: object) -> str | None:
    """What is wrong with one decoded line, and what to do; None when it is a well-formed event."""
    if not isinstance(event, dict):
        return "not a JSON object; every line of a trace is one event"
    version = event.get("v")
    if type(version) is int and version > VERSION:
        return f"format version {version} is newer than {VERSION}, the newest this checker reads: update the checker"
    if version != VERSION or type(version) is not int:
        return f"field v: expected {VERSION}, found {version!r}"
    for field in ("cluster", "node", "inc", "event"):
        if type(event.get(field)) is not str:
            return f"field {field}: expected a string, found {event.get(field)!r}"
    if parse_incarnation(event["inc"]) is None:
        return f"field inc: expected COUNTER-RANDOM with 8 hexadecimal digits, found {event['inc']!r}"
    name = event["event"]
    if name not in EVENTS:
        return f"unknown event {name!r}; format version {VERSION} has {', '.join(EVENTS)}"
    for field, (what, check) in {"seq": INTEGER, **_required(name)}.items():
        if field not in event:
            return f"{name} has no field {field}; expected {what}"
        if not check([event[field]]):
            return f"field {field} of {name}: expected {what}, found {event[field]!r}"
    for field, (what, check) in {"after": REFERENCES, **OPTIONAL.get(name, {})}.items():
        if field in event and not check([event[field]]):
            return f"field {field} of {name}: expected {what}, found {event[field]!r}"
    if name == "Ok" and not _answers(event):
        return "Ok has to have either entry_term and ack, for a write, or serve, for a read"
    return None
