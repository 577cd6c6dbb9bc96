"""`hacoord join` and `hacoord member`: nodes come into a cluster that works, change their part, move, and leave."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from hacoord.client import Client, RequestRefused, Unreachable
from hacoord.commands import seconds
from hacoord.config import parse_address
from hacoord.disk.storage import LEFTOVERS, StorageError, create
from hacoord.exits import Exit, NodeFailed
from hacoord.ha.membership import Action

Open = Callable[[argparse.Namespace, Sequence[str]], Client]

_CHANGES: tuple[tuple[str, Action, str], ...] = (
    ("drop", Action.DROP, "remove a follower or an observer for good; its name can't be used again"),
    ("promote", Action.PROMOTE, "make an observer a follower, which votes once it has caught up"),
    ("demote", Action.DEMOTE, "make a follower an observer, which copies the journal and has no vote"),
    ("move", Action.MOVE, "write down that a node is to be found at another address; before it listens there"),
)


def add_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], client: Open
) -> list[argparse.ArgumentParser]:
    """Add the commands; each sets `command`, which returns the exit status. `client` opens a client for a command."""
    join = commands.add_parser("join", help="make the data directory of a node that joins a cluster which works")
    join.epilog = (
        "example: hacoord join data/n4 --node n4 --address 127.0.0.1:7004 --helper 127.0.0.1:7001 --secret-file secret"
    )
    join.add_argument("directory", type=Path, metavar="DIR", help="the data directory; made if it is missing")
    join.add_argument("--node", required=True, dest="name", metavar="NAME", help="a name never used in this cluster")
    join.add_argument("--address", required=True, metavar="HOST:PORT", help="where the others find it")
    join.add_argument(
        "--helper", required=True, action="append", metavar="HOST:PORT", help="a node of the cluster; repeatable"
    )
    join.add_argument("--observer", action="store_true", help="it is to copy the journal, and never to vote")
    join.set_defaults(command=lambda args: _join(args, client))

    member = commands.add_parser("member", help="change the nodes of a cluster").add_subparsers(required=True)
    parsers = [join]
    for word, action, text in _CHANGES:
        parser = member.add_parser(word, help=text, description=text[0].upper() + text[1:] + ".")
        parser.add_argument("name", metavar="NAME", help="the node")
        if action is Action.MOVE:
            parser.add_argument("address", metavar="HOST:PORT", help="where it is to be found")
        else:
            parser.add_argument("--force", action="store_true", help="even if the voters left alive are no quorum")
        parser.add_argument(
            "--node", required=True, action="append", dest="helper", metavar="HOST:PORT", help="a node; repeatable"
        )
        parser.set_defaults(command=lambda args, action=action: _change(args, action, client))
        parsers.append(parser)
    for parser in parsers:
        parser.add_argument("--timeout", type=seconds, default=10.0, metavar="SECONDS", help="how long to try (10)")
    return parsers


def _join(args: argparse.Namespace, client: Open) -> int:
    parse_address(args.address)
    try:
        with os.scandir(args.directory) as found:
            names = {entry.name for entry in found}
    except FileNotFoundError:
        names = set()
    except OSError as error:
        raise NodeFailed(Exit.STORAGE, f"can't use {args.directory}: {error.strerror}") from error
    if names - LEFTOVERS:
        raise NodeFailed(Exit.STORAGE, f"{args.directory} is not empty: choose another directory for the new node")
    reply = _ask(args, Action.ADD_OBSERVER if args.observer else Action.JOIN, client)
    cluster, founders = str(reply["cluster"]), cast("dict[str, str]", reply["founding"])
    try:
        create(args.directory, cluster=cluster, node=args.name, members=founders, address=args.address)
    except StorageError as error:
        raise NodeFailed(Exit.STORAGE, f"{error}; the cluster has {args.name} as a member: run this again") from error
    what = "an observer" if args.observer else "a follower, which votes once it has caught up"
    print(f"{args.directory} is now node {args.name} of cluster {cluster}, {what}: start it with hacoord serve")
    return Exit.STOPPED


def _change(args: argparse.Namespace, action: Action, client: Open) -> int:
    reply = _ask(args, action, client)
    print(f"{action} {args.name}: done, with entry {reply['changed']} of the log")
    return Exit.STOPPED


def _ask(args: argparse.Namespace, action: Action, client: Open) -> dict[str, object]:
    address, force = getattr(args, "address", ""), getattr(args, "force", False)
    with client(args, args.helper) as asking:
        try:
            return asking.change(action, args.name, address=address, force=force, timeout=args.timeout)
        except (RequestRefused, Unreachable) as error:
            raise NodeFailed(Exit.UNEXPECTED, f"nothing was changed: {error}") from error
