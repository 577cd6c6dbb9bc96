"""Which data directory each peer has come with, kept on disk: who cleared his does not get in again under his name.

A node whose directory was cleared, or set back, has forgotten its votes and entries: let in again under its old name it
could help to elect a second leader of a term (spec/broken/HACoordinationClearedDisk.tla; incident 12).
"""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database

from hacoord.disk.directory import StorageError


class Acquaintances:
    """The disk identity of every peer that this node has met."""

    def __init__(self, database: Database) -> None:
        """Raises sqlite3.Error."""
        self._peers = database.table("peers", pk="name")
        self._peers.create({"name": str, "disk": str}, if_not_exists=True)
        self._disks: dict[str, str] = {row["name"]: row["disk"] for row in self._peers.rows}

    def refusal(self, name: str, disk: str | None) -> str | None:
        """Why a peer that comes with this disk is refused, None if it is not. The first disk is remembered, durably.

        Raises StorageError when the disk does not take it.
        """
        known = self._disks.get(name)
        if disk is None or disk == known:
            return None
        if known is not None:
            return (
                f"node {name} came with another data directory before: what it has now has forgotten its votes; give "
                "it the old one again, or remove it and let it join under a new name"
            )
        try:
            self._peers.insert({"name": name, "disk": disk})
        except sqlite3.Error as error:
            raise StorageError(f"cannot write down who {name} is: {error}; check the disk and its room") from error
        self._disks[name] = disk
        return None
