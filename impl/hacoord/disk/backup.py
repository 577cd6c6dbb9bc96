"""Backups: what a cluster had written, in one file that says what it is and proves that it is whole.

    hacoord backup 1 CHECKSUM     SHA-256, in hexadecimal, of all that follows this line
    {...}                         the manifest, JSON on one line
    ...                           the content, as images.py has it

A backup comes from a running node, which hands out an image of all it has applied; or from a data directory, copied by
SQLite's backup API whether or not a process works on it. Only a node knows what is committed. A directory's backup has
its whole log, and so, perhaps, entries at the end that nobody was ever promised.

What is restored is a new cluster, never a former member of the old one: that would have forgotten its votes.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from hacoord.client import Client
from hacoord.disk.directory import held, sync
from hacoord.disk.storage import DATABASE, Founding, Storage, StorageError, create
from hacoord.images import BadImage, Content, decode, encode
from hacoord.raft.group import founding
from hacoord.raft.log import Log
from hacoord.raft.messages import Base, HardState
from hacoord.raft.transfer import checksum
from hacoord.replay import journal_entry

_MAGIC = b"hacoord backup 1 "
_HEAD = len(_MAGIC) + 64 + 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is of: everything up to `base` that `node` of `cluster` had; `made` is when, in ISO 8601.

    `committed` says whether all of it is known to be.
    """

    cluster: str
    node: str
    base: Base
    made: str
    committed: bool


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup, verified."""

    manifest: Manifest
    content: Content


def from_node(client: Client, address: str) -> tuple[Manifest, bytes]:
    """What a running node has applied, all of it committed. Raises Unreachable, RequestRefused, StorageError."""
    offer = client.ask(address, {"op": "backup"})
    last, last_term, digest, epoch, size, expected = _listed(offer["image"])
    content = bytearray()
    while len(content) < size:
        part = client.ask(address, {"op": "backup_part", "checksum": expected, "offset": len(content)})
        content += base64.b64decode(str(part["data"]))
    if checksum(bytes(content)).hex() != expected:
        raise StorageError(f"what {address} sent is not its image: try again, and look at its disk")
    base = Base(last, last_term, bytes.fromhex(digest), epoch)
    return Manifest(str(offer["cluster"]), str(offer["node"]), base, _now(), True), bytes(content)


def from_directory(directory: Path) -> tuple[Manifest, bytes]:
    """All that a data directory holds. Raises StorageError."""
    with copied(directory) as storage:
        base, content = whole(storage)
        return Manifest(storage.cluster, storage.node, base, _now(), False), content


def whole(storage: Storage) -> tuple[Base, bytes]:
    """Everything in a directory, as the content of an image, and up to where it goes. Raises StorageError."""
    _, log = load(storage)
    if not log.last:
        raise StorageError(f"{storage.directory} holds no entry yet: there is nothing to keep")
    image = storage.image
    had = _decoded(storage.read_image()) if image else Content(0, None, [])
    end = image.base.last if image else 0
    later = filter(None, (journal_entry(log, entry) for entry in log.between(max(end, log.base.last) + 1, log.last)))
    return log.base_at(log.last), _encoded(Content(had.after, had.machine, [*had.entries, *later]))


def load(storage: Storage) -> tuple[HardState, Log]:
    """The hard state and the log in a directory, verified. Raises StorageError."""
    hard_state, entries = storage.load()
    return hard_state, Log(entries, founding(storage.members), storage.base)


def write(file: Path, manifest: Manifest, content: bytes) -> None:
    """Write a backup, whole or not at all, for its owner only. Raises StorageError; also if the file is there."""
    fields = {**asdict(manifest), "base": _values(manifest.base)}
    body = json.dumps(fields).encode() + b"\n" + content
    unfinished: str | None = None
    try:
        # A name of its own: nobody else's file is written into, and none that is there already is lost.
        fd, unfinished = tempfile.mkstemp(prefix=".hacoord-", dir=file.absolute().parent)
        with os.fdopen(fd, "wb") as out:
            out.write(_MAGIC + sha256(body).hexdigest().encode() + b"\n" + body)
            out.flush()
            os.fsync(out.fileno())
        # A link fails where a rename would replace: no earlier backup is overwritten.
        os.link(unfinished, file)
        sync(file.absolute().parent)
    except OSError as error:
        raise StorageError(
            f"can't write the backup {file}: {error.strerror}; name another file, or make room"
        ) from error
    finally:
        if unfinished is not None:
            with contextlib.suppress(OSError):
                os.unlink(unfinished)


def read(file: Path) -> Backup:
    """A backup, verified against its checksum. Raises StorageError."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise StorageError(f"can't read the backup {file}: {error.strerror}") from error
    head, body = data[:_HEAD], data[_HEAD:]
    if not head.startswith(_MAGIC):
        raise StorageError(f"{file} is no backup that this hacoord can read: name one that `hacoord backup` wrote")
    if head != _MAGIC + sha256(body).hexdigest().encode() + b"\n":
        raise StorageError(f"{file} is damaged: it does not match its checksum; use another backup")
    line, _, content = body.partition(b"\n")
    try:
        fields: dict[str, Any] = json.loads(line)
        last, last_term, digest, epoch = fields.pop("base")
        manifest = Manifest(base=Base(last, last_term, bytes.fromhex(digest), epoch), **fields)
    except (ValueError, TypeError, KeyError) as error:
        raise StorageError(f"{file} has a manifest that this hacoord can't read: {error}") from error
    return Backup(manifest, _decoded(content))


def restore(backup: Backup, directory: Path, *, cluster: str, node: str, members: Mapping[str, str]) -> None:
    """Found a cluster that goes on from where the backup ends. Raises StorageError.

    `members` are its voters, name to "host:port", `node` among them. Each of them is restored in the same way.
    """
    found(directory, backup.manifest.cluster, backup.manifest.base, backup.content, cluster, node, members)


def found(
    directory: Path, old: str, base: Base, content: Content, cluster: str, node: str, members: Mapping[str, str]
) -> None:
    """Make the data directory of a founder of `cluster`, which goes on from what cluster `old` wrote up to `base`."""
    if cluster == old:
        raise StorageError(
            f"cluster {cluster} is where this comes from: choose another name, so that the two are never taken for one "
            "(a node that is to come back joins with an empty directory)"
        )
    create(directory, cluster=cluster, node=node, members=members, founding=Founding(base, _encoded(content)))


@contextlib.contextmanager
def copied(directory: Path, *, locked: bool = False) -> Iterator[Storage]:
    """A verified copy of a data directory, to be read. Nothing in the directory changes, and a node may go on in it.

    `locked` is whether it is this process that has locked the directory. Raises StorageError when it holds no node, or
    a damaged one.
    """
    if not os.path.isfile(directory / DATABASE):
        raise StorageError(f"{directory} holds no node: correct the path")
    with tempfile.TemporaryDirectory(prefix="hacoord-") as temporary:
        copy = Path(temporary)
        try:
            with held(directory) as holder:
                _copy(directory, copy / DATABASE, alone=locked or holder is None)
            with Storage(copy) as storage:
                yield storage
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise StorageError(f"{directory / DATABASE} is damaged ({error})") from error
            where = tempfile.gettempdir()
            raise StorageError(f"can't copy {directory} to {where}: {error}; make room, or set TMPDIR") from error
        except StorageError as error:
            raise StorageError(str(error).replace(str(copy), str(directory))) from error


def _copy(directory: Path, target: Path, *, alone: bool) -> None:
    if alone:  # SQLite would leave files of its own beside it, and needs room for them
        for suffix in ("", "-wal", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{directory / DATABASE}{suffix}", f"{target}{suffix}")
        return
    source = f"{(directory / DATABASE).absolute().as_uri()}?mode=ro"
    with (
        contextlib.closing(sqlite3.connect(source, uri=True)) as old,
        contextlib.closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)


def _decoded(content: bytes) -> Content:
    try:
        return decode(content)
    except BadImage as error:
        raise StorageError(f"what there is of the journal can't be read: {error}") from error


def _encoded(content: Content) -> bytes:
    machine = None if content.machine is None else [content.machine]
    return b"".join(encode(content.after, machine, content.entries))


def _values(base: Base) -> list[object]:
    return [base.last, base.last_term, base.digest.hex(), base.epoch]


def _listed(value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) != 6:
        raise StorageError("the node answered something else: is it of another version?")
    return value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
