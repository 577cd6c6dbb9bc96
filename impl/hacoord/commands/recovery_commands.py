"""`hacoord backup`, `restore`, `inspect` and `reset-group` on the command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hacoord.client import Client, RequestRefused, Unreachable
from hacoord.commands import seconds
from hacoord.config import Config, ConfigError, parse_address
from hacoord.disk import backup, recovery
from hacoord.disk.recovery import Answer, Reset
from hacoord.disk.storage import StorageError
from hacoord.exits import Exit, NodeFailed
from hacoord.net.tls import certificates
from hacoord.raft.group import Member

Verb = Callable[[argparse.Namespace], int]
AddCommand = Callable[[str, Verb, str], argparse.ArgumentParser]
Connect = Callable[[argparse.Namespace, list[str]], Client]
Credentials = Callable[[argparse.Namespace], tuple[bytes, Config]]


def add_commands(add: AddCommand, connect: Connect, credentials: Credentials) -> list[argparse.ArgumentParser]:
    """Add the commands; returns those that speak with nodes as a client, and so take what a client takes.

    `connect` makes the client that a command line describes, `credentials` reads its secret and configuration.
    """
    saving = add("backup", _failing(partial(_backup, connect)), "write what a cluster has committed into one file")
    saving.epilog = "example: hacoord backup 127.0.0.1:7002 -o orders.backup --secret-file secret"
    saving.add_argument("source", metavar="HOST:PORT|DIR", help="a running node; or a data directory, running or not")
    saving.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="the backup; must not exist")
    saving.add_argument("--timeout", type=seconds, default=60.0, metavar="SECONDS", help="how long to wait for it (60)")

    restoring = add("restore", _failing(_restore), "found a new cluster on what a backup holds")
    restoring.epilog = (
        "example: hacoord restore orders.backup data/m1 --cluster orders-2 --node m1 --address 127.0.0.1:7001"
    )
    restoring.add_argument("file", type=Path, metavar="FILE", help="a backup")
    restoring.add_argument("directory", type=Path, metavar="DIR", help="the data directory; made if it is missing")
    restoring.add_argument("--cluster", required=True, metavar="ID", help="identity of the new cluster")
    restoring.add_argument("--node", required=True, metavar="NAME", help="which of its members this is")
    restoring.add_argument("--address", required=True, metavar="HOST:PORT", help="where it listens")
    restoring.add_argument(
        "--member", action="append", default=[], metavar="NAME=HOST:PORT", help="another founder, restored likewise"
    )

    looking = add("inspect", _failing(_inspect), "show what a data directory holds, and verify it")
    looking.epilog = "example: hacoord inspect data/n1 --json"
    looking.add_argument("directory", type=Path, metavar="DIR", help="a data directory, running or not")
    looking.add_argument("--json", action="store_true", help="as JSON")

    resetting = add("reset-group", _failing(partial(_reset, credentials)), "have a minority that is left go on alone")
    resetting.epilog = "example: hacoord reset-group data/n1 --cluster orders-2 --secret-file secret"
    resetting.add_argument("directory", type=Path, metavar="DIR", help="the data directory of the member that is left")
    resetting.add_argument("--cluster", required=True, metavar="ID", help="identity of the new cluster")
    resetting.add_argument("--node", metavar="NAME", help="its name there (the same)")
    resetting.add_argument("--address", metavar="HOST:PORT", help="where it listens (the same)")
    resetting.add_argument("--token", metavar="T", help="do it; without, only what would be done is shown")
    # It asks as a node would: no token of a client does.
    resetting.add_argument("--config", type=Path, metavar="FILE", help="settings, in TOML: tls and secret_file count")
    resetting.add_argument("--secret-file", type=Path, metavar="FILE", help="the cluster's secret")
    return [saving]


def _failing(verb: Verb) -> Verb:
    def run(args: argparse.Namespace) -> int:
        try:
            return verb(args)
        except StorageError as error:
            raise NodeFailed(Exit.STORAGE, str(error)) from error
        except (Unreachable, RequestRefused) as error:
            raise NodeFailed(Exit.UNEXPECTED, str(error)) from error
        except OSError as error:
            if error.filename is None:  # of the output
                raise
            raise NodeFailed(Exit.STORAGE, f"can't use {error.filename}: {error.strerror}") from error

    return run


def _backup(connect: Connect, args: argparse.Namespace) -> int:
    if Path(args.source).is_dir():
        manifest, content = backup.from_directory(Path(args.source))
    else:
        with connect(args, [args.source]) as client:
            manifest, content = backup.from_node(client, args.source)
    backup.write(args.out, manifest, content)
    base = manifest.base
    print(f"{args.out}: cluster {manifest.cluster} up to entry {base.last}, term {base.last_term}, epoch {base.epoch}")
    if not manifest.committed:
        print("taken from a directory: nobody may ever have been promised what is at its end")
    return Exit.STOPPED


def _restore(args: argparse.Namespace) -> int:
    members = {args.node: args.address}
    for text in args.member:
        name, equals, address = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--member {text!r}: NAME=HOST:PORT is wanted")
        if members.get(name, address) != address:
            raise ConfigError(f"--member {name} is named twice")
        if address in (other for known, other in members.items() if known != name):
            raise ConfigError(f"--member {name}: {address} is another member's address")
        members[name] = address
    for address in members.values():
        parse_address(address)
    saved = backup.read(args.file)
    backup.restore(saved, args.directory, cluster=args.cluster, node=args.node, members=members)
    base = saved.manifest.base
    print(f"{args.directory} is now node {args.node} of the new cluster {args.cluster}: {', '.join(sorted(members))}")
    print(f"it goes on from entry {base.last}, term {base.last_term}, epoch {base.epoch} of {saved.manifest.cluster}")
    if saved.content.machine is not None:
        print("it holds a state machine's state: start the node with that machine")
    return Exit.STOPPED


def _inspect(args: argparse.Namespace) -> int:
    found = recovery.inspect(args.directory)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(f"{name:<12} {_shown(value)}")
    return Exit.STOPPED


def _shown(value: Any) -> str:
    match value:
        case None | []:
            return "-"
        case dict():
            return ", ".join(f"{name} {inner}" for name, inner in value.items())
        case list():
            return "; ".join(" ".join(map(str, row)) for row in value)
        case _:
            return str(value)


def _reset(credentials: Credentials, args: argparse.Namespace) -> int:
    if args.address:
        parse_address(args.address)
    secret, config = credentials(args)
    tls = certificates(config.tls)

    def asker(member: Member, cluster: str) -> Answer:
        return recovery.ask(member, cluster=cluster, secret=secret, certificates=tls)

    reset = recovery.plan(args.directory, args.cluster, node=args.node, address=args.address, asker=asker)
    if args.token:
        recovery.carry_out(reset, args.token)
        print(f"{args.directory} is now node {reset.new_node} of the new cluster {reset.cluster}, alone")
        print(f"the old directory is {reset.aside}")
        return Exit.STOPPED
    _describe(reset)
    refusal = reset.refusal()
    if refusal:
        raise StorageError(refusal)
    print(f"To do this, add: --token {reset.token}")
    return Exit.STOPPED


def _describe(reset: Reset) -> None:
    end = reset.end
    print("Nothing has been changed. This is what would be done:")
    print(f"  now     node {reset.node} of cluster {reset.old}, with {reset.directory}")
    print(f"  kept    entries 1 to {end.last} (term {end.last_term}, epoch {end.epoch}), whether or not committed")
    print("  lost    what the others have acknowledged and this node does not have; nobody can say how much that is")
    for answer in reset.answers:
        member = answer.member
        print(f"  left    {member.part} {member.name} at {member.address}: {answer.said}")
    print(
        f"  new     node {reset.new_node} of cluster {reset.cluster}, alone, at {reset.address}; epoch {end.epoch + 1}"
    )
    print(f"  aside   the old directory, with its traces, as {reset.aside}")
    print(f"Those left behind must never run again: together they might still be cluster {reset.old}.")
