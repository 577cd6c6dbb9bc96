"""The catalog on a node: it applies the journal, and answers the catalog's requests on the node's port."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hacoord.catalog.machine import BadCommand, Catalog, Command, Outcome
from hacoord.journal import Outcome as Fate
from hacoord.journal import ReadPoint, Receipt
from hacoord.net.rights import Right
from hacoord.node import Node
from hacoord.replies import key_of

Reply = Callable[[dict[str, object]], None]

PAGE = 1000
"""How many keys one reply lists, and how many characters of definitions, at most (and one key if there is one)."""
PAGE_SIZE = 1 << 19


def serve(node: Node) -> Catalog:
    """Have a node keep a catalog, and answer requests about it; returns the catalog. Call before `node.run`.

    Either every node of a cluster does this from the beginning, or none: all must make the same of the journal.
    """
    catalog = Catalog()
    node.host(catalog)
    node.on_request("catalog_change", lambda body, reply: _change(node, body, reply), Right.WRITE)
    node.on_request("catalog_get", lambda body, reply: _get(node, catalog, body, reply), Right.READ)
    node.on_request("catalog_list", lambda body, reply: _list(node, catalog, body, reply), Right.READ)
    return catalog


def _change(node: Node, body: Mapping[str, object], reply: Reply) -> None:
    """Write a command into the journal; the reply says what became of it when it was applied."""

    def answer(fate: Fate) -> None:
        more: dict[str, object] = {}
        if isinstance(fate, Receipt):
            more = {"outcome": fate.result, "wrote": fate.result == Outcome.DONE.value}
        reply({**node.outcome(fate), **more})

    try:
        command = Command.decode(str(body.get("command")).encode())
        node.journal.submit(command.encode(), answer, key=key_of(body))
    except (BadCommand, ValueError) as error:
        reply({"error": "bad_request", "reason": str(error)})


def _get(node: Node, catalog: Catalog, body: Mapping[str, object], reply: Reply) -> None:
    """Look a key up, here (`local`) or so that nothing is missing that anybody had been promised."""

    def found() -> dict[str, object]:
        item = catalog.get(str(body.get("key")))
        fields = {"value": item.value, "version": item.version}
        return {name: field for name, field in fields.items() if field is not None}

    _read(node, body, reply, found)


def _list(node: Node, catalog: Catalog, body: Mapping[str, object], reply: Reply) -> None:
    """A page of the keys with a prefix; `more` says that there are others after the last of them."""

    def page() -> dict[str, object]:
        items: list[list[object]] = []
        size = 0
        for key, item in catalog.list(str(body.get("prefix", "")), str(body.get("after", ""))):
            size += len(key) + len(item.value or "")
            if items and (len(items) == PAGE or size > PAGE_SIZE):
                return {"items": items, "more": True}
            items.append([key, item.value, item.version])
        return {"items": items, "more": False}

    _read(node, body, reply, page)


def _read(node: Node, body: Mapping[str, object], reply: Reply, look: Callable[[], dict[str, object]]) -> None:
    """Reply with what `look` finds, once it may be looked at."""

    def answer(fate: Fate) -> None:
        # The journal calls back in the same turn in which it has applied all up to the read point, and nothing beyond.
        reply({**node.outcome(fate), **(look() if isinstance(fate, ReadPoint) else {})})

    if body.get("local"):
        reply({"applied": node.journal.applied, **look()})
    else:
        node.journal.submit_read(answer)
