"""Who a node is, and its hard state: the one row of table `node`, with a seal over it.

The seal is a hash, so that a damaged term or vote is noticed and not believed.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from sqlite_utils import Database

from hacoord.disk.image_store import Damaged

_COLUMNS = {"cluster": str, "node": str, "disk": str, "members": str, "incarnation": int, "term": int, "vote": str}
_ALL = ", ".join([*_COLUMNS, "seal"])


def create_table(database: Database) -> None:
    """Add to a database what an `Identity` is written into."""
    database.create_table("node", {"id": int, **_COLUMNS, "seal": bytes}, pk="id")


@dataclass(frozen=True, slots=True)
class Identity:
    """The row.

    `members` is a JSON object of name to "host:port", the voters that the group was set up with; for a node that joined
    later, a list of that object and its own "host:port".
    """

    cluster: str
    node: str
    disk: str
    members: str
    incarnation: int
    term: int
    vote: str | None

    @classmethod
    def new(cls, cluster: str, node: str, members: Mapping[str, str], address: str | None, term: int) -> Identity:
        """That of a node on a new disk; with an `address` if it joins later."""
        known = dict(members) if address is None else [dict(members), address]
        return cls(cluster, node, uuid.uuid4().hex, json.dumps(known), 0, term, None)

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> Identity:
        """That of a database. Raises Damaged."""
        rows = connection.execute(f"SELECT {_ALL} FROM node").fetchall()
        if len(rows) != 1:
            raise Damaged(f"{len(rows)} identities instead of one")
        *values, seal = rows[0]
        row = cls(*values)
        try:
            sound = row._seal() == seal
        except (TypeError, ValueError):  # a column came back as a type that was never written
            sound = False
        if not sound:
            raise Damaged("identity and hard state do not match their seal")
        return row

    def write(self, connection: sqlite3.Connection) -> None:
        """Be that of a database, in a transaction of the caller's."""
        places = ", ".join("?" for _ in _COLUMNS)
        row = (*self._values(), self._seal())
        connection.execute(f"INSERT OR REPLACE INTO node (id, {_ALL}) VALUES (1, {places}, ?)", row)

    def founders(self) -> tuple[dict[str, str], str]:
        """The voters that the group was set up with, name to "host:port", and where this node was to be found then."""
        known = json.loads(self.members)
        members, address = known if isinstance(known, list) else (known, known[self.node])
        return members, address

    def _values(self) -> tuple[str | int | None, ...]:
        return self.cluster, self.node, self.disk, self.members, self.incarnation, self.term, self.vote

    def _seal(self) -> bytes:
        return blake2b(json.dumps(self._values()).encode(), digest_size=16).digest()
