"""Asks for the catalog's definitions, and changes them, at whichever node leads."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from hacoord.catalog.machine import Command, Item, Outcome
from hacoord.client import Client


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of a change: the outcome, and the journal index of its command; the new version, if it is done."""

    outcome: Outcome
    index: int


class CatalogClient:
    """The catalog, over a `Client` of a cluster whose nodes keep one."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def put(self, key: str, value: str, *, expected: int | None = None) -> Changed:
        """Define a key, whether or not it is there; with `expected`, only if that is its version (0: it is not there).

        This and all other changes raise BadCommand, and otherwise as `Client.append`.
        """
        return self._change(Command("put", key, value, expected))

    def create(self, key: str, value: str) -> Changed:
        """Define a key that is not there yet."""
        return self._change(Command("create", key, value))

    def alter(self, key: str, value: str, *, expected: int | None = None) -> Changed:
        """Give a key that is there another definition."""
        return self._change(Command("alter", key, value, expected))

    def drop(self, key: str, *, expected: int | None = None) -> Changed:
        """Remove a key that is there."""
        return self._change(Command("drop", key, None, expected))

    def get(self, key: str) -> Item:
        """What a key means; nothing is missing that anybody had been promised before. Raises Unreachable."""
        return _item(self._client.query({"op": "catalog_get", "key": key}, key=key))

    def get_local(self, address: str, key: str) -> Item:
        """What a key means to one node, which may lag behind. Raises Unreachable."""
        return _item(self._client.ask(address, {"op": "catalog_get", "key": key, "local": True}))

    def list(self, prefix: str = "") -> Iterator[tuple[str, Item]]:
        """The keys with a prefix, in order. Each page is as of one moment; a long list takes several. Unreachable."""
        after = ""
        more = True
        while more:
            reply = self._client.query({"op": "catalog_list", "prefix": prefix, "after": after})
            more = bool(reply["more"])
            for key, value, version in cast("list[tuple[str, str, int]]", reply["items"]):
                yield key, Item(value, version)
                after = key

    def _change(self, command: Command) -> Changed:
        request: dict[str, object] = {"op": "catalog_change", "command": command.encode().decode()}
        # A change that nobody answers is tried again, and carried out once.
        reply = self._client.command(request, key=command.key, idempotency=secrets.token_hex(8))
        receipt = cast("dict[str, object]", reply["receipt"])
        return Changed(Outcome(cast(str, reply["outcome"])), cast(int, receipt["index"]))


def _item(reply: dict[str, object]) -> Item:
    return Item(cast("str | None", reply.get("value")), cast("int | None", reply.get("version")))
