"""The fast path: what the text of well-formed lines looks like, as one regular expression for many lines at once.

It covers lines as most writers make them: the fields in the order of docs/trace-format.md, without blanks, and no field
that the page does not know; and of each line what it says, from the name of the event on (decode.py sees to the rest).
Matching is then a proof that each is an event of which `schema.complaint` has nothing to say, in a loop of the
interpreter's rather than ours:

- it has the fields it must have and may have, and no others, since the expression spells their names out;
- each value is of the text of its type (`TEXT`), which `json` reads as a value that the type's check accepts: numbers
  have 18 digits at most, or times 19 that do not begin with 9, so they are below 2^63, and no point or exponent; a
  string ends at its first bare quote;
- no text of a value has a raw newline or leaves a bracket open, so what is between two newlines is one event.

Whatever does not match is judged line by line, where anything well-formed is accepted and anything else gets its
complaint. No repetition gives anything back (`*+`, `?+`), so matching takes time in proportion to the text.
"""

from __future__ import annotations

import re

from trace_check import schema
from trace_check.configuration import PARTS
from trace_check.schema import Kind

_NATURAL = "(?:0|[1-9][0-9]{0,17}+)"
# Nanoseconds since the epoch have 19 digits, from 2001 to 2286.
_TIME = "(?:[1-8][0-9]{18}|[1-9][0-9]{0,17}+|0)"
_POSITIVE = "[1-9][0-9]{0,17}+"
# Whether a string is valid UTF-8 is left to whoever decodes it.
_PLAIN = r'[^"\\\x00-\x1f]*+'
_STRING = rf'"{_PLAIN}(?:"|(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{{4}}){_PLAIN})++")'
# Names that need an escape are rare, and references are most of the text.
_REFERENCE = rf'\["{_PLAIN}","{_PLAIN}",{_POSITIVE}\]'


def _list(of: str) -> str:
    return rf"\[(?:{of}(?:,{of})*+)?+\]"


# Of each type, text that its check accepts; other text it accepts as well may be missing here.
TEXT: dict[Kind, str] = {
    schema.INTEGER: _NATURAL,
    schema.CODE: f"-?+{_TIME}",
    schema.ZERO: "0",
    schema.STRING: _STRING,
    schema.DIGEST: '"[0-9a-f]{16}"',
    schema.NAME_OR_NULL: f"(?:null|{_STRING})",
    schema.NAMES: _list(_STRING),
    schema.REFERENCE: _REFERENCE,
    schema.REFERENCES: _list(_REFERENCE),
    schema.RUNS: _list(rf"\[{_POSITIVE},{_NATURAL},{_POSITIVE}\]"),
    schema.PAIRS: _list(rf"\[{_NATURAL},{_NATURAL}\]"),
    schema.MEMBERS: _list(rf'\[{_STRING},"(?:{"|".join(PARTS)})",{_STRING}\]'),
    schema.IMAGE: rf'\[{_NATURAL},{_NATURAL},"[0-9a-f]{{16}}"\]',
    schema.FOUNDING: rf'\[{_POSITIVE},{_NATURAL},"[0-9a-f]{{16}}",{_NATURAL}\]',
    schema.BOOLEAN: "(?:true|false)",
    schema.OPERATION: '"(?:read|write)"',
    schema.MOMENT: rf"\[{_STRING},{_TIME}\]",
}


def _fields(kinds: dict[str, Kind]) -> str:
    return "".join(f',"{name}":{TEXT[kind]}' for name, kind in kinds.items())


def _event(name: str) -> str:
    """An event from its name on, to the end of the line."""
    term = schema.ZERO if name in schema.CLIENT_EVENTS else schema.INTEGER
    own, optional = schema.EVENTS[name], schema.OPTIONAL.get(name, {})
    text = f'{name}"{_fields({"term": term, **own})}'
    if name == "Ok":
        text += f"(?:{'|'.join(_fields({field: optional[field] for field in answer}) for answer in schema.ANSWERS)})"
        optional = {field: kind for field, kind in optional.items() if all(field not in a for a in schema.ANSWERS)}
    optional = {**optional, "after": schema.REFERENCES}
    return text + "".join(f"(?:{_fields({field: kind})})?+" for field, kind in optional.items())


def _lines(names: list[str]) -> re.Pattern[bytes]:
    line = rf'\{{"event":"(?:{"|".join(map(_event, names))})\}}'
    return re.compile(f"{line}(?:\n,{line})*+".encode())


# As decode.py joins them: `"ts":5,"ts":-6`.
TIMES = re.compile(f'"ts":{TEXT[schema.CODE]}(?:,"ts":{TEXT[schema.CODE]})*+'.encode())
# The commonest first, as they are tried in turn.
_COMMON = ["Store", "Commit", "Append", "Ack"]
NODE_LINES = _lines(sorted(schema.NODE_EVENTS, key=lambda name: name not in _COMMON))
CLIENT_LINES = _lines(list(schema.CLIENT_EVENTS))
