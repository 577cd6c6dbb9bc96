"""The bytes on the wire: frames, the Raft messages in them, and JSON objects. Pure functions, no socket.

A frame is a 4-byte big-endian length and that many bytes of body. The body of a Raft message is

    tag (1 byte) | header length (4 bytes) | header (a JSON array) | entry table | data of all entries

with one row (term, kind, size of data, digest) per entry in the table; only AppendEntries has the last two. An entry's
index is not sent: entries follow `prev`. In an InstallSnapshot a part of the image follows the header.

Version 2 of the protocol has TimeoutNow, `heir` in RequestVote, entries with configurations, Removed, InstallSnapshot
and Received. To a peer that speaks 1 they are not sent, as if they had been lost: no safety depends on their arrival. A
handover to such a peer comes to nothing; where the group has changed, or the peer lacks entries that were given up, it
is told of nothing more before it is upgraded.

Decoding is strict: whatever is not exactly this raises FrameError.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable

from hacoord.raft.messages import (
    DIGEST_SIZE,
    Appended,
    AppendEntries,
    Base,
    Entry,
    Image,
    InstallSnapshot,
    Kind,
    Message,
    Received,
    Ref,
    Removed,
    RequestVote,
    TimeoutNow,
    Vote,
)
from hacoord.raft.transfer import CHECKSUM_SIZE

PROTOCOL = 2
"""The newest version of the protocol that this code speaks."""
OLDEST = 1
"""The oldest one. Two ends speak the newest that both know, so that nodes can be upgraded one after the other."""
CHANGES_SINCE = 2
"""The first version with groups that change, and with handovers, images and keys."""
MAX_FRAME = 8 * 1024 * 1024
"""Default limit of a frame's body, in bytes."""

_LENGTH = struct.Struct(">I")
_HEAD = struct.Struct(">BI")
_ROW = struct.Struct(f">QBI{DIGEST_SIZE}s")
_REQUEST_VOTE, _VOTE, _APPEND_ENTRIES, _APPENDED, _TIMEOUT_NOW, _REMOVED = 1, 2, 3, 4, 5, 8
_INSTALL_SNAPSHOT, _RECEIVED = 10, 11
_KINDS = {int(kind): kind for kind in Kind}
_LATER_KINDS = (Kind.CONFIGURATION, Kind.KEYED)
_INC = re.compile(r"[0-9]{1,18}-[0-9a-f]{8}")
_LIMIT = 2**63  # integers fit SQLite's

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


_loads = json.JSONDecoder(parse_constant=_no_constant).decode


class TransportError(Exception):
    """Something about the network went wrong. The message says what, and what to do."""


class FrameError(TransportError):
    """Bytes that are not what the protocol allows here. The connection they came from is of no more use."""


def frame(body: bytes) -> bytes:
    """The body with its length in front."""
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a stream of bytes into bodies."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Bytes that have arrived."""
        self._buffer += data

    def next(self, limit: int) -> bytes | None:
        """The next whole body, None if it is not all there yet. Raises FrameError for more than `limit` bytes."""
        buffer = self._buffer
        if len(buffer) < _LENGTH.size:
            return None
        size: int = _LENGTH.unpack_from(buffer)[0]
        if size > limit:
            raise FrameError(f"a frame of {size} bytes where at most {limit} are allowed")
        end = _LENGTH.size + size
        if len(buffer) < end:
            return None
        body = bytes(memoryview(buffer)[_LENGTH.size : end])
        del buffer[:end]
        return body


def encode_json(value: object) -> bytes:
    """Compact JSON, UTF-8. Raises ValueError or TypeError for what JSON cannot say."""
    return _dumps(value).encode()


def decode_json(body: bytes) -> object:
    """The JSON value in `body`. Raises FrameError."""
    try:
        value: object = _loads(body.decode())
        if b"\\u" in body:
            _dumps(value).encode()  # half a surrogate pair is no text, and would fail later, somewhere else
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not JSON: {error}") from None
    return value


def decode_object(body: bytes) -> dict[str, object]:
    """The JSON object in `body`. Raises FrameError."""
    value = decode_json(body)
    if not isinstance(value, dict):
        raise FrameError("not a JSON object")
    return value


def is_name(value: object) -> bool:
    """Whether this can name a node, a client or a cluster: 1 to 64 printable ASCII characters."""
    return type(value) is str and 1 <= len(value) <= 64 and value.isascii() and value.isprintable()


def is_inc(value: object) -> bool:
    """Whether this is an incarnation, "COUNTER-xxxxxxxx"."""
    return type(value) is str and _INC.fullmatch(value) is not None


def since(message: Message) -> int:
    """The version of the protocol that can first say this message."""
    match message:
        case TimeoutNow() | Removed() | InstallSnapshot() | Received():
            return CHANGES_SINCE
        case AppendEntries(entries=entries) if any(entry.kind in _LATER_KINDS for entry in entries):
            return CHANGES_SINCE
        case _:
            return 1


def encode_message(message: Message, protocol: int = PROTOCOL) -> bytes:
    """The body of a Raft message's frame, in a version of the protocol that has it."""
    m = message
    head: list[object] = [m.src, m.dst, m.ref, m.term]
    match m:
        case AppendEntries(entries=entries):
            header = [*head, m.prev, m.prev_term, m.commit, m.commit_ref, m.read, len(entries)]
            rows = [_ROW.pack(e.term, e.kind, len(e.data), e.digest) for e in entries]
            return b"".join([_pack(_APPEND_ENTRIES, header), *rows, *[e.data for e in entries]])
        case Appended():
            return _pack(_APPENDED, [*head, m.ok, m.match, m.store, m.read, m.confirm])
        case RequestVote():
            header = [*head, m.last, m.last_term, m.pre, m.campaign]
            return _pack(_REQUEST_VOTE, [*header, m.heir] if protocol >= CHANGES_SINCE else header)
        case TimeoutNow():
            return _pack(_TIMEOUT_NOW, head)
        case InstallSnapshot():
            header = [*head, _image_header(m.image), m.shown, m.offset, m.wanted]
            return _pack(_INSTALL_SNAPSHOT, header) + m.data
        case Received():
            return _pack(_RECEIVED, [*head, m.checksum.hex(), m.offset])
        case Removed():
            return _pack(_REMOVED, [*head, m.index, m.index_term])
        case Vote():
            return _pack(_VOTE, [*head, m.granted, m.pre, m.grant])


def decode_message(body: bytes, protocol: int = PROTOCOL) -> Message:
    """The Raft message in a frame's body, of a version of the protocol. Raises FrameError."""
    if len(body) < _HEAD.size:
        raise FrameError("a message that ends in its head")
    tag, size = _HEAD.unpack_from(body)
    decoder = _DECODERS.get(tag)
    if decoder is None:
        raise FrameError(f"unknown kind of message: {tag}")
    end = _HEAD.size + size
    if len(body) < end:
        raise FrameError("a message that ends in its header")
    header = decode_json(body[_HEAD.size : end])
    if not isinstance(header, list):
        raise FrameError("the header of a message is not an array")
    if tag == _REQUEST_VOTE and protocol < CHANGES_SINCE:
        header.append(False)
    try:
        src, dst, ref, term, *fields = header
        message = decoder((_name(src), _name(dst), _ref(ref), _int(term)), fields, body, end)
    except ValueError as error:  # too few or too many fields
        raise FrameError(f"malformed message: {error}") from None
    if protocol < PROTOCOL and since(message) > protocol:
        raise FrameError(f"a message that version {protocol} of the protocol does not have")
    return message


_Head = tuple[str, str, Ref, int]
"""What every message begins with: who sends it to whom, its newest event, its term."""


def _request_vote(head: _Head, fields: list[object], body: bytes, end: int) -> Message:
    last, last_term, pre, campaign, heir = fields
    _ends(body, end)
    return RequestVote(*head, _int(last), _int(last_term), _bool(pre), _opt(campaign), _bool(heir))


def _vote(head: _Head, fields: list[object], body: bytes, end: int) -> Message:
    granted, pre, grant = fields
    _ends(body, end)
    return Vote(*head, _bool(granted), _bool(pre), _opt(grant))


def _append_entries(head: _Head, fields: list[object], body: bytes, end: int) -> Message:
    prev, prev_term, commit, commit_ref, read, count = fields
    index = _int(prev)
    data = end + _int(count) * _ROW.size
    if data > len(body):
        raise FrameError("a message that ends in its table of entries")
    entries = []
    for term, number, size, digest in _ROW.iter_unpack(memoryview(body)[end:data]):
        kind = _KINDS.get(number)
        if kind is None:
            raise FrameError(f"unknown kind of entry: {number}")
        index += 1
        entries.append(Entry(index, _int(term), kind, body[data : data + size], digest))
        data += size
    _ends(body, data)
    _int(index)
    return AppendEntries(*head, _int(prev), _int(prev_term), tuple(entries), _int(commit), _opt(commit_ref), _opt(read))


def _appended(head: _Head, fields: list[object], body: bytes, end: int) -> Message:
    ok, match, store, read, confirm = fields
    _ends(body, end)
    return Appended(*head, _bool(ok), _int(match), _opt(store), _opt(read), _opt(confirm))


def _timeout_now(head: _Head, fields: list[object], body: bytes, end: int) -> Message:
    () = fields
    _ends(body, end)
    return TimeoutNow(*head)


def _removed(head: _Head, fields: list[object], body: bytes, end: int) -> Message:
    index, index_term = fields
    _ends(body, end)
    return Removed(*head, _int(index), _int(index_term))


def _image_header(image: Image) -> list[object]:
    base = image.base
    members = [base.members.decode(), base.members_index]
    return [base.last, base.last_term, base.digest.hex(), base.epoch, *members, image.size, image.checksum.hex()]


def _install_snapshot(head: _Head, fields: list[object], body: bytes, end: int) -> Message:
    image, shown, offset, wanted = fields
    if not isinstance(image, list):
        raise FrameError(f"not an image: {image!r:.80}")
    last, last_term, digest, epoch, members, members_index, size, checksum = image
    if type(members) is not str:
        raise FrameError(f"not the members of a group: {members!r:.80}")
    group = members.encode(), _int(members_index)
    base = Base(_int(last), _int(last_term), _hex(digest, DIGEST_SIZE), _int(epoch), *group)
    sent = Image(base, _int(size), _hex(checksum, CHECKSUM_SIZE))
    return InstallSnapshot(*head, sent, _ref(shown), _int(offset), _bool(wanted), body[end:])


def _received(head: _Head, fields: list[object], body: bytes, end: int) -> Message:
    checksum, offset = fields
    _ends(body, end)
    return Received(*head, _hex(checksum, CHECKSUM_SIZE), _int(offset))


_DECODERS: dict[int, Callable[[_Head, list[object], bytes, int], Message]] = {
    _REQUEST_VOTE: _request_vote,
    _VOTE: _vote,
    _APPEND_ENTRIES: _append_entries,
    _APPENDED: _appended,
    _TIMEOUT_NOW: _timeout_now,
    _INSTALL_SNAPSHOT: _install_snapshot,
    _RECEIVED: _received,
    _REMOVED: _removed,
}


def _pack(tag: int, header: list[object]) -> bytes:
    text = _dumps(header).encode()
    return _HEAD.pack(tag, len(text)) + text


def _ends(body: bytes, end: int) -> None:
    if len(body) != end:
        raise FrameError(f"a message of {len(body)} bytes that should have {end}")


def _int(value: object) -> int:
    if type(value) is not int or not 0 <= value < _LIMIT:
        raise FrameError(f"not a count: {value!r:.80}")
    return value


def _bool(value: object) -> bool:
    if type(value) is not bool:
        raise FrameError(f"not true or false: {value!r:.80}")
    return value


def _hex(value: object, size: int) -> bytes:
    if type(value) is not str or re.fullmatch(r"[0-9a-f]*", value) is None or len(value) != 2 * size:
        raise FrameError(f"not {size} bytes: {value!r:.80}")
    return bytes.fromhex(value)


def _name(value: object) -> str:
    if type(value) is not str or not is_name(value):
        raise FrameError(f"not a name: {value!r:.80}")
    return value


def _ref(value: object) -> Ref:
    if type(value) is not list or len(value) != 3:
        raise FrameError(f"not a reference: {value!r:.80}")
    node, inc, seq = value
    if not is_inc(inc):
        raise FrameError(f"not an incarnation: {inc!r:.80}")
    return Ref(_name(node), inc, _int(seq))


def _opt(value: object) -> Ref | None:
    return None if value is None else _ref(value)
