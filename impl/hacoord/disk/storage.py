"""What a node keeps on disk: who it is, its hard state, its image, its log. One SQLite file per data directory.

SQLite runs in WAL mode with synchronous=FULL, so that a commit has been synced when `save` returns. SQLite's own
checksums end at the WAL; a page that rots in the database file passes them. So the identity and hard state carry a seal
and every entry the digest that chains it to all before it: what is read back is what was written, or a StorageError.

What this cannot see is the loss of whole transactions at the end (a WAL cut short, a disk that lies about its syncs):
the log is then a valid but shorter one. The node's trace shows it (guard NothingForgotten).
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from sqlite_utils import Database

from hacoord.disk.acquaintances import Acquaintances
from hacoord.disk.directory import LOCK, StorageError, lock_directory, make_directory, sync
from hacoord.disk.identity import Identity, create_table
from hacoord.disk.image_store import Damaged, ImageStore, create_tables
from hacoord.raft.group import encode
from hacoord.raft.group import founding as founders
from hacoord.raft.messages import Base, Entry, HardState, Image, Kind, Persist, Piece
from hacoord.settings import NAME

__all__ = ["DATABASE", "LOCK", "DiskFull", "Founding", "Storage", "StorageError", "create"]

DATABASE = "node.db"
SCHEMA = 2
# SQLite's application_id: "HACO". Tells a node's database from any other SQLite file of the same name.
APPLICATION = 0x4841434F

# Errors of SQLite that another try may not have: the file is as it was.
_NO_DAMAGE = (
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
)  # fmt: skip
LEFTOVERS = frozenset({LOCK, DATABASE + ".new", DATABASE + ".new-journal"})
"""What `create` may leave when it fails; it makes the node all the same when it is called again."""
_LEFTOVERS = (DATABASE, DATABASE + "-wal", DATABASE + "-shm", DATABASE + "-journal")


class DiskFull(StorageError):
    """The disk is full. Nothing of the transaction was written; the same `save` may be tried again."""


@dataclass(frozen=True, slots=True)
class Founding:
    """What another cluster left: an image's content (images.py) and the position it stands for."""

    base: Base
    content: bytes


def create(
    directory: Path,
    *,
    cluster: str,
    node: str,
    members: Mapping[str, str],
    founding: Founding | None = None,
    address: str | None = None,
) -> None:
    """Make the data directory of a new node: the only way for one to come into being (incidents 12 and 16).

    `members` are the voters that the group is set up with, name to "host:port", this node among them; or not, if it
    joins later, at its own `address`. The database is finished and synced under another name before it gets its own, so
    a crash on the way leaves nothing that opens as a node. With `founding` the node goes on from where another cluster
    ended; all that it is set up with have to be given the same.
    Raises StorageError if the directory already holds a node or remains of one, or cannot be written.
    """
    _check_names(cluster, node, members, joins=address is not None)
    if founding is not None:
        # The other cluster's members have nothing to say here; these have, also to those who are sent the image.
        group = encode(founders(members))
        founding = replace(founding, base=replace(founding.base, members=group, members_index=0))
    try:
        make_directory(directory)
        lock = lock_directory(directory)
        try:
            term = founding.base.last_term if founding else 0
            _create_locked(directory, Identity.new(cluster, node, members, address, term), founding)
        finally:
            os.close(lock)
    except OSError as error:
        raise StorageError(f"cannot create a node in {directory}: {error}") from error


def _check_names(cluster: str, node: str, members: Mapping[str, str], *, joins: bool) -> None:
    for what, name in [("cluster", cluster), ("node", node), *(("member", member) for member in members)]:
        if not NAME.fullmatch(name):
            raise StorageError(
                f"{what} name {name!r} is not valid: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a "
                "letter or a digit"
            )
    if joins and node in members:
        raise StorageError(f"{node!r} is one of those who set the cluster up: choose a name that was never used in it")
    if not joins and node not in members:
        raise StorageError(
            f"node {node!r} is not among the members ({', '.join(members)}): add it, or correct its name"
        )


def _create_locked(directory: Path, identity: Identity, founding: Founding | None) -> None:
    for name in _LEFTOVERS:
        # A WAL left behind counts too: SQLite would replay it into the new database.
        if (directory / name).exists():
            raise StorageError(
                f"{directory} already holds a node ({name} exists): start it with `hacoord serve`, or choose another "
                "directory"
            )
    unfinished = directory / (DATABASE + ".new")
    for suffix in ("", "-journal"):
        Path(f"{unfinished}{suffix}").unlink(missing_ok=True)
    try:
        database = Database(sqlite3.connect(unfinished, isolation_level=None))
        try:
            database.execute("PRAGMA synchronous = FULL")
            database.conn.execute("BEGIN")
            create_table(database)
            database.create_table(
                "log", {"idx": int, "term": int, "kind": int, "data": bytes, "digest": bytes}, pk="idx"
            )
            create_tables(database.conn)
            if founding:
                ImageStore(database.conn).found(founding.base, founding.content)
            identity.write(database.conn)
            database.conn.execute(f"PRAGMA application_id = {APPLICATION}")
            database.conn.execute(f"PRAGMA user_version = {SCHEMA}")
            database.conn.execute("COMMIT")
        finally:
            database.conn.close()
    except sqlite3.Error as error:
        raise StorageError(f"cannot create a node in {directory}: {error}") from error
    sync(unfinished)
    # A link fails where a rename would replace: nothing that appeared meanwhile is overwritten.
    os.link(unfinished, directory / DATABASE)
    unfinished.unlink()
    sync(directory)


class Storage:
    """An existing node's data directory, held by this process alone until `close`.

    Raises StorageError when the directory holds no node, is in use, was written by a newer hacoord, or is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        if not os.path.isfile(directory / DATABASE):
            raise StorageError(f"{directory} holds no node: run `hacoord init` to create one, or correct the path")
        try:
            self._lock = lock_directory(directory)
        except OSError as error:
            raise StorageError(f"cannot use {directory}: {error}") from error
        self._broken: str | None = None
        try:
            uri = f"{(directory / DATABASE).absolute().as_uri()}?mode=rw"
            self._database = Database(sqlite3.connect(uri, uri=True, isolation_level=None))
        except sqlite3.Error as error:
            os.close(self._lock)
            raise self._unusable(error) from error
        self._conn: sqlite3.Connection = self._database.conn
        try:
            self._identity = self._open()
            self._images = ImageStore(self._conn)
            self.acquaintances = Acquaintances(self._database)
            self._last = self._last_index()
            sync(directory)  # the WAL's own directory entry, whatever this SQLite was built to do
        except sqlite3.Error as error:
            self.close()
            raise self._unusable(error) from error
        except OSError as error:
            self.close()
            raise StorageError(f"cannot use {directory}: {error}") from error
        except StorageError:
            self.close()
            raise
        except (Damaged, ValueError, TypeError, KeyError) as error:  # text that is none, a column that is not there
            self.close()
            raise self._damaged(str(error)) from error
        self.cluster: str = self._identity.cluster
        self.node: str = self._identity.node
        self.disk: str = self._identity.disk
        self.members, self.address = self._identity.founders()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold it all; the second is not always there."""
        return self.directory / DATABASE, self.directory / (DATABASE + "-wal")

    @property
    def incarnation(self) -> int:
        """How often a process has started on it."""
        return self._identity.incarnation

    def new_incarnation(self) -> str:
        """Count this start of the process, durably; returns "COUNTER-xxxxxxxx", different from every earlier one."""
        identity = replace(self._identity, incarnation=self._identity.incarnation + 1)
        self._transaction(Persist(None, 0, ()), identity)
        return f"{identity.incarnation}-{secrets.token_hex(4)}"

    def load(self) -> tuple[HardState, list[Entry]]:
        """The hard state and the log after `base`, each entry verified against its digest (incident 20)."""
        log: list[Entry] = []
        base = self.base
        digest, term = base.digest, base.last_term
        try:
            rows = self._conn.execute(
                "SELECT idx, term, kind, data, digest FROM log WHERE idx > ? ORDER BY idx", (base.last,)
            )
            for index, (idx, entry_term, kind, data, stored) in enumerate(rows, start=base.last + 1):
                if idx != index:
                    raise self._damaged(f"entry {index} of the log is missing")
                if not (type(entry_term) is type(kind) is int and type(data) is bytes and term <= entry_term):
                    raise self._damaged(f"entry {index} of the log is not an entry")
                if kind not in tuple(Kind):
                    raise self._damaged(f"entry {index} of the log is of unknown kind {kind}")
                entry = Entry.after(digest, index, entry_term, Kind(kind), data)
                if entry.digest != stored:
                    raise self._damaged(f"entry {index} of the log does not match its digest")
                log.append(entry)
                digest, term = entry.digest, entry_term
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        if term > self._identity.term:
            raise self._damaged(f"the log reaches term {term}, the hard state only {self._identity.term}")
        if self.image and self.image.base.last > base.last + len(log):
            raise self._damaged(f"the log ends at {base.last + len(log)}, before the image does")
        return HardState(self._identity.term, self._identity.vote), log

    @property
    def base(self) -> Base:
        """What the log begins after; everything up to there is in the image."""
        return self._images.base

    @property
    def image(self) -> Image | None:
        """The image of this node; `image_part` and `read_image` have its content."""
        return self._images.image

    @property
    def founded(self) -> Base | None:
        """Where another cluster ended from which this one was set up, this node among the first."""
        return self._images.founded

    def image_part(self, image: Image, offset: int) -> bytes:
        """Some of the content from `offset` on; nothing if this is not, or no longer, the image of this node."""
        try:
            return self._images.part(image, offset)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def read_image(self) -> bytes:
        """The content of the image, verified. Raises StorageError if it is damaged."""
        try:
            return self._images.read()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        except Damaged as error:
            raise self._damaged(str(error)) from error

    def stage(self, piece: Piece) -> None:
        """Write a part of the image that is being made here; a part at offset 0 begins it. Raises as `save`.

        It is in force once `save` is given it as `image`. Only then it is synced, with all that was written before: to
        wait for the disk at every part would hold up what is urgent.
        """
        self._conn.execute("PRAGMA synchronous = NORMAL")
        try:
            self._transaction(Persist(None, 0, ()), self._identity, piece)
        finally:
            self._conn.execute("PRAGMA synchronous = FULL")

    def save(self, persist: Persist) -> None:
        """Make it durable: one transaction, one sync. When this returns, it survives a power cut.

        Raises DiskFull when there is no room: nothing was written, and trying again is allowed. Raises StorageError on
        any other I/O error; then this object takes nothing more, because after a failed sync nobody knows what the disk
        holds: the process has to end and read it anew. Raises ValueError if the entries would leave a gap in the log.
        """
        identity = self._identity
        if persist.hard_state is not None:
            identity = replace(identity, term=persist.hard_state.term, vote=persist.hard_state.vote)
        first, entries = persist.first, persist.entries
        last = persist.image.base.last if persist.image and persist.received else self._last
        if first:
            base = persist.base or self.base
            if not base.last < first <= last + 1 or any(e.index != i for i, e in enumerate(entries, start=first)):
                raise ValueError(f"entries from {first} do not continue a log that ends at {last}")
        elif entries:
            raise ValueError("entries without the index from which they replace the log")
        self._transaction(persist, identity)

    def close(self) -> None:
        """Release the directory. Nothing is lost by not calling this. May be called twice."""
        if self._lock >= 0:
            self._conn.close()
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _transaction(self, persist: Persist, identity: Identity, piece: Piece | None = None) -> None:
        if self._broken is not None:
            raise StorageError(f"{self.directory} failed before ({self._broken}): restart the process")
        execute = self._conn.execute
        first, entries, last = persist.first, persist.entries, self._last
        try:
            execute("BEGIN IMMEDIATE")
            if identity is not self._identity:
                identity.write(self._conn)
            if persist.image and persist.received:
                last = persist.image.base.last
                execute("DELETE FROM log WHERE idx > ?", (last,))
            if first and first <= last:
                execute("DELETE FROM log WHERE idx >= ?", (first,))
            if entries:
                self._conn.executemany(
                    "INSERT INTO log (idx, term, kind, data, digest) VALUES (?, ?, ?, ?, ?)",
                    [(e.index, e.term, int(e.kind), e.data, e.digest) for e in entries],
                )
            images = self._images.stage(piece) if piece else self._images.write(persist)
            execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error
        except BaseException:  # a number too large for SQLite, a signal's handler: nothing of it may stay
            self._roll_back()
            raise
        self._identity, self._images.state = identity, images
        self._last = first - 1 + len(entries) if first else last

    def _failed(self, error: sqlite3.Error) -> StorageError:
        """Undo the transaction; what to raise for it."""
        if self._roll_back() and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return DiskFull(f"the disk that holds {self.directory} is full: free space, then restart the node")
        self._broken = str(error)
        return StorageError(f"cannot write to {self.directory}: {error}; check the disk, then restart the node")

    def _roll_back(self) -> bool:
        """Whether it worked. After some errors SQLite has done it by itself."""
        try:
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._broken = str(error)
            return False
        return True

    def _open(self) -> Identity:
        """Check that this is a sound database of ours, set its modes, read its identity. Raises Damaged."""
        execute = self._conn.execute
        if execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            raise StorageError(f"{self.directory / DATABASE} is not a hacoord database: correct the path")
        schema = execute("PRAGMA user_version").fetchone()[0]
        if schema > SCHEMA:
            raise StorageError(
                f"{self.directory} was written by a newer hacoord (schema {schema}, this one knows {SCHEMA}): upgrade "
                "hacoord"
            )
        for problem in execute("PRAGMA quick_check(1)"):
            if problem[0] != "ok":
                raise self._damaged(problem[0])
        if execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StorageError(f"SQLite cannot use WAL mode in {self.directory}: move it to a local file system")
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA fullfsync = ON")  # macOS only: there, fsync alone does not reach the platter
        execute("PRAGMA checkpoint_fullfsync = ON")
        if schema < 2:  # written by a hacoord that knew no images
            execute("BEGIN IMMEDIATE")
            create_tables(self._conn)
            execute(f"PRAGMA user_version = {SCHEMA}")
            execute("COMMIT")
        return Identity.read(self._conn)

    def _last_index(self) -> int:
        return max(self.base.last, int(self._conn.execute("SELECT coalesce(max(idx), 0) FROM log").fetchone()[0]))

    def _unusable(self, error: sqlite3.Error) -> StorageError:
        """What to raise when SQLite could not read or open: not all of that is damage, which is for good."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return DiskFull(f"the disk that holds {self.directory} is full: free space, then restart the node")
        if code in _NO_DAMAGE:
            return StorageError(f"cannot use {self.directory}: {error}; check the disk, its room and who may write")
        return self._damaged(str(error))

    def _damaged(self, what: str) -> StorageError:
        return StorageError(
            f"{self.directory / DATABASE} is damaged ({what}): start this node neither on it nor on an older copy, "
            "which would have forgotten votes and entries it promised; keep the directory and replace the node"
        )
