"""`hacoord backup`, `restore`, `inspect` and `reset-group` on the command line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from hacoord.commands.options import Commands, Run, add_asking, add_command, add_secret, client, credentials, founders
from hacoord.config import parse_address
from hacoord.disk import backup, recovery
from hacoord.disk.recovery import Answer, Reset
from hacoord.disk.storage import StorageError
from hacoord.exits import Exit, NodeFailed
from hacoord.net.tls import certificates
from hacoord.raft.group import Member


def add_commands(commands: Commands) -> None:
    """Add the commands."""
    text = "write what a cluster has committed into one file"
    example = "hacoord backup 127.0.0.1:7002 -o orders.backup --secret-file secret"
    saving = add_asking(commands, "backup", _failing(_backup), text, example, timeout=60.0)
    saving.add_argument("source", metavar="HOST:PORT|DIR", help="a running node; or a data directory, running or not")
    saving.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="the backup; must not exist")

    text = "found a new cluster on what a backup holds"
    example = "hacoord restore orders.backup data/m1 --cluster orders-2 --node m1 --address 127.0.0.1:7001"
    restoring = add_command(commands, "restore", _failing(_restore), text, example)
    restoring.add_argument("file", type=Path, metavar="FILE", help="a backup")
    restoring.add_argument("directory", type=Path, metavar="DIR", help="the data directory; made if it is missing")
    restoring.add_argument("--cluster", required=True, metavar="ID", help="identity of the new cluster")
    restoring.add_argument("--node", required=True, metavar="NAME", help="which of its members this is")
    restoring.add_argument("--address", required=True, metavar="HOST:PORT", help="where it listens")
    restoring.add_argument(
        "--member", action="append", default=[], metavar="NAME=HOST:PORT", help="another founder, restored likewise"
    )

    text = "show what a data directory holds, and verify it"
    looking = add_command(commands, "inspect", _failing(_inspect), text, "hacoord inspect data/n1 --json")
    looking.add_argument("directory", type=Path, metavar="DIR", help="a data directory, running or not")
    looking.add_argument("--json", action="store_true", help="as JSON")

    text = "have a minority that is left go on alone"
    example = "hacoord reset-group data/n1 --cluster orders-2 --secret-file secret"
    resetting = add_command(commands, "reset-group", _failing(_reset), text, example)
    resetting.add_argument("directory", type=Path, metavar="DIR", help="the data directory of the member that is left")
    resetting.add_argument("--cluster", required=True, metavar="ID", help="identity of the new cluster")
    resetting.add_argument("--node", metavar="NAME", help="its name there (the same)")
    resetting.add_argument("--address", metavar="HOST:PORT", help="where it listens (the same)")
    resetting.add_argument("--token", metavar="T", help="do it; without, only what would be done is shown")
    add_secret(resetting)  # it asks as a node would: no token of a client does


def _failing(run: Run) -> Run:
    """A file or directory that can't be used is the disk's failure, here."""

    def running(args: argparse.Namespace) -> int:
        try:
            return run(args)
        except OSError as error:
            if error.filename is None:  # of the output
                raise
            raise NodeFailed(Exit.STORAGE, f"can't use {error.filename}: {error.strerror}") from error

    return running


def _backup(args: argparse.Namespace) -> int:
    if Path(args.source).is_dir():
        manifest, content = backup.from_directory(Path(args.source))
    else:
        with client(args, [args.source], timeout=args.timeout) as asking:
            manifest, content = backup.from_node(asking, args.source)
    backup.write(args.out, manifest, content)
    base = manifest.base
    print(f"{args.out}: cluster {manifest.cluster} up to entry {base.last}, term {base.last_term}, epoch {base.epoch}")
    if not manifest.committed:
        print("taken from a directory: nobody may ever have been promised what is at its end")
    return Exit.STOPPED


def _restore(args: argparse.Namespace) -> int:
    # The same options may be given to all founders: each is among the members of the others.
    members = founders(dict.fromkeys([f"{args.node}={args.address}", *args.member]))
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


def _reset(args: argparse.Namespace) -> int:
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
