"""`hacoord put`, `get`, `create`, `alter`, `drop` and `list`: the catalog on the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from hacoord.catalog.client import CatalogClient, Changed
from hacoord.catalog.machine import BadCommand, Item, Outcome
from hacoord.client import Client

NOT_DONE = 4
"""Exit status when the catalog itself says no: the key exists, is missing, or has another version."""

Verb = Callable[[argparse.Namespace, Client], int]
"""Carries one command out; returns its exit status."""


def add_commands(add: Callable[[str, Verb, str], argparse.ArgumentParser]) -> None:
    """Add the commands; `add(name, verb, help)` makes a parser that takes whatever a client needs."""
    for name, function, text in (
        ("put", _put, "define a key of the catalog, whether or not it is there"),
        ("create", _create, "define a key that is not there yet"),
        ("alter", _alter, "give a key that is there another definition"),
        ("drop", _drop, "remove a key that is there"),
    ):
        parser = add(name, function, text)
        parser.add_argument("key", metavar="KEY")
        if name != "drop":
            parser.add_argument("value", metavar="VALUE", help="its definition; - for standard input")
        if name != "create":
            parser.add_argument(
                "--expected", type=int, metavar="VERSION", help="only if this is its version (0: it is not there)"
            )
    get = add("get", _get, "print the definition of a key, or exit with status 4")
    get.add_argument("key", metavar="KEY")
    get.add_argument("--local", action="store_true", help="what the first node has, which may lag behind")
    get.add_argument("--json", action="store_true", help="value and version, as JSON")
    listing = add("list", _list, "print the keys of the catalog: key, version, definition")
    listing.add_argument("prefix", nargs="?", default="", metavar="PREFIX", help="only keys that begin so")


def _put(args: argparse.Namespace, client: Client) -> int:
    return _changed(args, CatalogClient(client).put(args.key, _value(args), expected=args.expected))


def _create(args: argparse.Namespace, client: Client) -> int:
    return _changed(args, CatalogClient(client).create(args.key, _value(args)))


def _alter(args: argparse.Namespace, client: Client) -> int:
    return _changed(args, CatalogClient(client).alter(args.key, _value(args), expected=args.expected))


def _drop(args: argparse.Namespace, client: Client) -> int:
    return _changed(args, CatalogClient(client).drop(args.key, expected=args.expected))


def _get(args: argparse.Namespace, client: Client) -> int:
    catalog = CatalogClient(client)
    item: Item = catalog.get_local(args.node[0], args.key) if args.local else catalog.get(args.key)
    if args.json:
        print(json.dumps({"key": args.key, "value": item.value, "version": item.version}))
    elif item.value is not None:
        print(item.value)
    if item.value is None:
        print(f"hacoord: there is no {args.key!r} in the catalog", file=sys.stderr)
        return NOT_DONE
    return 0


def _list(args: argparse.Namespace, client: Client) -> int:
    for key, item in CatalogClient(client).list(args.prefix):
        print(f"{key}\t{item.version}\t{item.value}")
    return 0


def _value(args: argparse.Namespace) -> str:
    if args.value != "-":
        return str(args.value)
    if sys.stdin is None:
        raise BadCommand("standard input is closed: give the definition itself instead of -")
    return sys.stdin.read()


def _changed(args: argparse.Namespace, changed: Changed) -> int:
    if changed.outcome is Outcome.DONE:
        print(f"version {changed.index}")
        return 0
    meaning = {
        Outcome.EXISTS: "is in the catalog already",
        Outcome.MISSING: "is not in the catalog",
        Outcome.CONFLICT: "has another version than the expected one",
    }
    print(f"hacoord: {args.key!r} {meaning[changed.outcome]}; nothing was changed", file=sys.stderr)
    return NOT_DONE
