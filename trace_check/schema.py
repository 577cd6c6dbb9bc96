"""Which fields each event has, of which type: the tables of docs/trace-format.md, and the check of one event.

`fits` is the fast path and says only yes or no; `complaint` takes the same table to say what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter
from typing import Any

Event = dict[str, Any]
# [node, inc, seq], once checked.
Reference = list[Any]

VERSION = 1
# Signed 64 bits, as writers in other languages have them; then every sum can still be printed or become a float.
LARGEST = (1 << 63) - 1
COMMON = ("v", "cluster", "node", "inc", "seq", "ts", "event", "term")

_is_digest = re.compile("[0-9a-f]{16}").fullmatch
_is_incarnation = re.compile("([0-9]{1,15})-([0-9a-f]{8})").fullmatch


def _is_natural(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST


def _is_reference(value: object) -> bool:
    if type(value) is not list or len(value) != 3:
        return False
    node, inc, seq = value
    return type(seq) is int and 0 < seq <= LARGEST and type(node) is str and type(inc) is str


def _are_references(value: object) -> bool:
    if type(value) is not list:
        return False
    try:
        for node, inc, seq in value:
            # JSON has no other value with three parts of which the last is an integer.
            if type(seq) is not int or not 0 < seq <= LARGEST or type(node) is not str or type(inc) is not str:
                return False
    except (TypeError, ValueError):
        return False
    return True


def _are_runs(value: object) -> bool:
    if type(value) is not list:
        return False
    try:
        for first, last, term in value:
            if type(first) is not int or type(last) is not int or type(term) is not int:
                return False
            if not (0 < first <= LARGEST and 0 <= last <= LARGEST and 0 < term <= LARGEST):
                return False
    except (TypeError, ValueError):
        return False
    return True


def _are_pairs(value: object) -> bool:
    return type(value) is list and all(
        type(item) is list and len(item) == 2 and _is_natural(item[0]) and _is_natural(item[1]) for item in value
    )


def _are_names(value: object) -> bool:
    return type(value) is list and all(type(name) is str for name in value)


# A type of the format: what people read in a complaint, and how a value is recognised.
Kind = tuple[str, Callable[[Any], bool]]
INTEGER: Kind = ("an integer of 0 or more, below 2^63", _is_natural)
CODE: Kind = ("an integer of 64 bits", lambda v: type(v) is int and -LARGEST <= v <= LARGEST)
ZERO: Kind = ("0, as clients have no term", lambda v: type(v) is int and v == 0)
STRING: Kind = ("a string", lambda v: type(v) is str)
DIGEST: Kind = ("16 lower-case hexadecimal digits", lambda v: type(v) is str and _is_digest(v) is not None)
NAME_OR_NULL: Kind = ("a node's name or null", lambda v: v is None or type(v) is str)
NAMES: Kind = ("a list of names", _are_names)
REFERENCE: Kind = ("a reference [node, inc, seq]", _is_reference)
REFERENCES: Kind = ("a list of references [node, inc, seq]", _are_references)
RUNS: Kind = ("a list of [first, last, term]", _are_runs)
PAIRS: Kind = ("a list of [index, epoch]", _are_pairs)

_LOG_END: dict[str, Kind] = {"last": INTEGER, "last_term": INTEGER}

NODE_EVENTS: dict[str, dict[str, Kind]] = {
    "Start": {"vote": NAME_OR_NULL, **_LOG_END, "digest": DIGEST, "disk": STRING, "voters": NAMES},
    "Campaign": {**_LOG_END, "voters": NAMES},
    "Grant": {"candidate": STRING, "campaign": REFERENCE, **_LOG_END},
    "Win": {"grants": REFERENCES},
    "Append": {"first": INTEGER, "last": INTEGER, "digest": DIGEST},
    "Store": {**_LOG_END, "digest": DIGEST},
    "Commit": {"runs": RUNS, "digest": DIGEST},
    "Activate": {"epoch": INTEGER},
    "Ack": {"first": INTEGER, "last": INTEGER},
    "Lose": {},
    "Transfer": {"to": STRING},
    "Exit": {"code": CODE},
}
CLIENT_EVENTS: dict[str, dict[str, Kind]] = {
    "Invoke": {"op": STRING},
    "Ok": {"op": STRING, "index": INTEGER, "entry_term": INTEGER, "ack": REFERENCE},
    "Fail": {"op": STRING, "error": STRING},
    "Unknown": {"op": STRING, "error": STRING},
}
OPTIONAL: dict[str, dict[str, Kind]] = {
    "Append": {"epoch": INTEGER},
    "Commit": {"epochs": PAIRS, "stores": REFERENCES, "leader_commit": REFERENCE},
}
EVENTS = {**NODE_EVENTS, **CLIENT_EVENTS}

Fits = Callable[[Event, int], bool]


class _Digests:
    """Digests found well-formed a moment ago: most are named by every node in turn."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def add(self, digest: str) -> bool:
        """Whether it is well-formed; it is known then."""
        if _is_digest(digest) is None:
            return False
        if len(self._known) > 10_000:
            self._known.clear()
        self._known.add(digest)
        return True

    def shape(self, name: str) -> Fits:
        """The fast check of one event's type: all plain fields at once, the others one by one."""
        own = EVENTS[name]
        integers = [field for field, kind in own.items() if kind is INTEGER]
        digests = [field for field, kind in own.items() if kind is DIGEST]
        rest = [(field, kind[1]) for field, kind in own.items() if kind not in (INTEGER, DIGEST)]
        if name in CLIENT_EVENTS:
            rest.append(("term", ZERO[1]))
        optional = [(field, kind[1]) for field, kind in OPTIONAL.get(name, {}).items()]
        # No event has more than two integers and one digest of its own; others stand in where it has fewer.
        one, two = [*integers, "term", "term"][:2]
        plain = itemgetter("term", one, two, "seq", "ts", digests[0] if digests else "event")
        types = (int, int, int, int, int, str)
        known = self._known if digests else {name}

        def fits(event: Event, seq: int) -> bool:
            values = plain(event)
            a, b, c, number, ts, digest = values
            if tuple(map(type, values)) != types or number != seq:
                return False
            if not (0 <= a <= LARGEST and 0 <= b <= LARGEST and 0 <= c <= LARGEST and -LARGEST <= ts <= LARGEST):
                return False
            if digest not in known and not self.add(digest):
                return False
            for field, check in rest:
                if not check(event[field]):
                    return False
            for field, check in optional:
                if field in event and not check(event[field]):
                    return False
            return "after" not in event or _are_references(event["after"])

        return fits


_DIGESTS = _Digests()
_NODE_FITS: dict[str, Fits] = {name: _DIGESTS.shape(name) for name in NODE_EVENTS}
_CLIENT_FITS: dict[str, Fits] = {name: _DIGESTS.shape(name) for name in CLIENT_EVENTS}


def fits(events: list[Event], seq: int, *, client: bool) -> bool:
    """Whether these are well-formed events of a node or client, from `seq` on, but for the fields all lines share."""
    shapes = _CLIENT_FITS if client else _NODE_FITS
    try:
        for event in events:
            if not shapes[event["event"]](event, seq):
                return False
            seq += 1
    except (KeyError, TypeError):
        return False
    return True


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
    term = ZERO if name in CLIENT_EVENTS else INTEGER
    wanted: dict[str, Kind] = {"seq": INTEGER, "ts": CODE, "term": term, **EVENTS[name]}
    for field, (what, check) in wanted.items():
        if field not in event:
            return f"{name} has no field {field}; expected {what}"
        if not check(event[field]):
            return f"field {field} of {name}: expected {what}, found {event[field]!r}"
    for field, (what, check) in {"after": REFERENCES, **OPTIONAL.get(name, {})}.items():
        if field in event and not check(event[field]):
            return f"field {field} of {name}: expected {what}, found {event[field]!r}"
    return None
