"""`hacoord join` and `hacoord member`: nodes come into a cluster that works, change their part, move, and leave."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import cast

from hacoord.client import RequestRefused, Unreachable
from hacoord.commands.options import Commands, add_asking, client
from hacoord.config import parse_address
from hacoord.disk.storage import LEFTOVERS, StorageError, create
from hacoord.exits import Exit, NodeFailed
from hacoord.ha.membership import Action

_CHANGES: tuple[tuple[str, Action, str], ...] = (
    ("drop", Action.DROP, "remove a follower or an observer for good; its name can't be used again"),
    ("promote", Action.PROMOTE, "make an observer a follower, which votes once it has caught up"),
    ("demote", Action.DEMOTE, "make a follower an observer, which copies the journal and has no vote"),
    ("move", Action.MOVE, "write down that a node is to be found at another address; before it listens there"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands."""
    example = "data/n4 --node n4 --address 127.0.0.1:7004 --helper 127.0.0.1:7001 --secret-file secret"
    text = "make the data directory of a node that joins a cluster which works"
    join = add_asking(commands, "join", _join, text, f"hacoord join {example}", timeout=10.0)
    join.add_argument("directory", type=Path, metavar="DIR", help="the data directory; made if it is missing")
    join.add_argument("--node", required=True, dest="name", metavar="NAME", help="a name never used in this cluster")
    join.add_argument("--address", required=True, metavar="HOST:PORT", help="where the others find it")
    join.add_argument(
        "--helper", required=True, action="append", metavar="HOST:PORT", help="a node of the cluster; repeatable"
    )
    join.add_argument("--observer", action="store_true", help="it is to copy the journal, and never to vote")

    member = commands.add_parser("member", help="change the nodes of a cluster").add_subparsers(required=True)
    for word, action, text in _CHANGES:
        parser = add_asking(member, word, partial(_change, action), text, timeout=10.0)
        parser.add_argument("name", metavar="NAME", help="the node")
        if action is Action.MOVE:
            parser.add_argument("address", metavar="HOST:PORT", help="where it is to be found")
        else:
            parser.add_argument("--force", action="store_true", help="even if the voters left alive are no quorum")
        parser.add_argument(
            "--node", required=True, action="append", dest="helper", metavar="HOST:PORT", help="a node; repeatable"
        )


def _join(args: argparse.Namespace) -> int:
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
    reply = _ask(args, Action.ADD_OBSERVER if args.observer else Action.JOIN)
    cluster, founders = str(reply["cluster"]), cast("dict[str, str]", reply["founding"])
    try:
        create(args.directory, cluster=cluster, node=args.name, members=founders, address=args.address)
    except StorageError as error:
        raise NodeFailed(Exit.STORAGE, f"{error}; the cluster has {args.name} as a member: run this again") from error
    what = "an observer" if args.observer else "a follower, which votes once it has caught up"
    print(f"{args.directory} is now node {args.name} of cluster {cluster}, {what}: start it with hacoord serve")
    return Exit.STOPPED


def _change(action: Action, args: argparse.Namespace) -> int:
    reply = _ask(args, action)
    print(f"{action} {args.name}: done, with entry {reply['changed']} of the log")
    return Exit.STOPPED


def _ask(args: argparse.Namespace, action: Action) -> dict[str, object]:
    address, force = getattr(args, "address", ""), getattr(args, "force", False)
    with client(args, args.helper, timeout=args.timeout + 5) as asking:
        try:
            return asking.change(action, args.name, address=address, force=force, timeout=args.timeout)
        except (RequestRefused, Unreachable) as error:
            raise NodeFailed(Exit.UNEXPECTED, f"nothing was changed: {error}") from error
