"""`hacoord status` and `show frontends`: what nodes say of themselves and of each other, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from hacoord.client import RequestRefused, Unreachable
from hacoord.commands.options import Commands, add_asking, client
from hacoord.exits import Exit
from hacoord.monitoring import frontends

_COLUMNS = ("node", "type", "role", "term", "epoch", "leader", "last", "commit", "ready")


def add_commands(commands: Commands) -> None:
    """Add the commands."""
    example = "127.0.0.1:7001 127.0.0.1:7002 --secret-file secret"
    status = add_asking(commands, "status", _status, "show what each node says it is", f"hacoord status {example}")
    status.add_argument("address", nargs="+", metavar="HOST:PORT", help="a node")
    parts = commands.add_parser("show", help="show the frontends of a cluster").add_subparsers(required=True)
    text = "show all frontends of a cluster, from any of its nodes"
    shown = add_asking(parts, "frontends", _frontends, text, f"hacoord show frontends {example}")
    shown.add_argument("address", nargs="+", metavar="HOST:PORT", help="some nodes; the first that answers will do")
    for parser in (status, shown):
        parser.add_argument("--json", action="store_true", help="as JSON")


def _status(args: argparse.Namespace) -> int:
    rows: list[dict[str, object]] = []
    with client(args, args.address, timeout=2.0) as asking:
        for address in args.address:
            try:
                rows.append({"address": address, **asking.status(address)})
            except (Unreachable, RequestRefused) as error:
                rows.append({"address": address, "error": str(error)})
    failed = [row for row in rows if "error" in row]
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        _print_table([row for row in rows if row not in failed], _COLUMNS)
        for row in failed:
            print(f"hacoord: {row['error']}", file=sys.stderr)
    return Exit.UNEXPECTED if failed else Exit.STOPPED


def _frontends(args: argparse.Namespace) -> int:
    with client(args, args.address, timeout=2.0) as asking:
        rows = frontends.rows(asking, args.address)
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        _print_table(rows, frontends.COLUMNS)
    return Exit.STOPPED


def _print_table(rows: Sequence[dict[str, object]], columns: Sequence[str]) -> None:
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in [columns, *cells] if rows else []:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)
