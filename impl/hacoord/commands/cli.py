"""The command line: `hacoord init`, `serve`, and the commands of the modules beside this one.

Every error is one line on standard error and an exit status of `node.Exit`; a traceback is a bug. The secret is always
read from a file: what stands on a command line, every user of the machine can see.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from hacoord import __version__
from hacoord.catalog import commands as catalog
from hacoord.catalog.machine import BadCommand
from hacoord.catalog.service import serve
from hacoord.client import NotWritten, RequestRefused, Unreachable
from hacoord.commands import (
    config_commands,
    journal_commands,
    member_commands,
    recovery_commands,
    simulate_command,
    status_commands,
    token_commands,
)
from hacoord.commands.options import Commands, Run, add_asking, add_command, add_secret, client, credentials, founders
from hacoord.disk.storage import create
from hacoord.exits import failures
from hacoord.journal import OutcomeUnknown
from hacoord.monitoring import logs
from hacoord.node import MEANING, Exit, Node, NodeFailed

UNKNOWN = 3
"""Exit status when nobody can say whether the entry is written, or the group changed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    # A stream that was closed is None: what nobody hears must not fail.
    sys.stdout, sys.stderr = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
    args = _parser().parse_args(arguments)
    done = ""
    command: Run = args.command
    try:
        with failures():
            status = command(args)
        done = "the command has run, but its output is lost: " if status == Exit.STOPPED else ""
        sys.stdout.flush()  # here, where it can still be said that nobody takes it
        return status
    except NodeFailed as error:
        return _complain(error.code, str(error))
    except OutcomeUnknown as error:
        return _complain(UNKNOWN, f"outcome unknown: {error}")
    except (NotWritten, RequestRefused, Unreachable) as error:
        return _complain(Exit.UNEXPECTED, str(error))
    except BrokenPipeError:
        # Whoever read our output has heard enough; say nothing when the interpreter closes it.
        _hush()
        return Exit.UNEXPECTED
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        _hush()
        return _complain(Exit.UNEXPECTED, f"{done}{error}: make room, or correct the path")
    except Exception as error:  # the last resort: one line, never a traceback
        return _complain(Exit.UNEXPECTED, f"unexpected {type(error).__name__}: {error}")


def _hush() -> None:
    """Have what is still to be written to standard output forgotten, or the interpreter would complain at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(code: int, reason: str) -> int:
    with contextlib.suppress(OSError):  # on a full disk the log has no room either, and the status still says it
        print("hacoord: " + " ".join(reason.split()), file=sys.stderr)
    return int(code)


def _init(args: argparse.Namespace) -> int:
    members = founders(args.member)
    create(args.directory, cluster=args.cluster, node=args.node, members=members)
    print(f"{args.directory} is now node {args.node} of cluster {args.cluster}, whose members are {', '.join(members)}")
    return Exit.STOPPED


def _serve(args: argparse.Namespace) -> int:
    secret, config = credentials(args)
    logs.set_up(config.log.format)
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    node = Node(args.directory, config, secret, test_faults=args.test_faults)
    if args.catalog:
        serve(node)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.stop())
    if asked:  # while it started
        node.stop()
    code = node.run()
    if code is not Exit.STOPPED:
        raise NodeFailed(code, f"{node.name}: {MEANING[code]}")
    return code


def _catalog(args: argparse.Namespace, verb: catalog.Verb) -> int:
    with client(args, args.node, timeout=args.timeout) as asking:
        try:
            return verb(args, asking)
        except BadCommand as error:
            raise NodeFailed(Exit.USAGE, str(error)) from error
        except ValueError as error:
            raise NodeFailed(Exit.UNEXPECTED, str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hacoord",
        description="A highly available, replicated journal with one writer at a time, that leaves evidence of it.",
        epilog="Exit codes are in docs/operating.md.",
    )
    parser.add_argument("--version", action="version", version=f"hacoord {__version__}")
    commands: Commands = parser.add_subparsers(title="commands", required=True)

    example = (
        "hacoord init data/n1 --cluster demo --node n1 "
        "--member n1=127.0.0.1:7001 --member n2=127.0.0.1:7002 --member n3=127.0.0.1:7003"
    )
    text = "make the data directory of a new node; each node of a cluster, once"
    init = add_command(commands, "init", _init, text, example)
    init.add_argument("directory", type=Path, metavar="DIR", help="the data directory; made if it is missing")
    init.add_argument("--cluster", required=True, metavar="ID", help="identity of the cluster, the same for all nodes")
    init.add_argument("--node", required=True, metavar="NAME", help="which of the members this is")
    init.add_argument(
        "--member", required=True, action="append", metavar="NAME=HOST:PORT", help="one voting member; repeat for each"
    )

    text, example = "run a node until SIGTERM or SIGINT", "hacoord serve data/n1 --secret-file secret"
    serve = add_command(commands, "serve", _serve, text, example)
    serve.add_argument("directory", type=Path, metavar="DIR", help="the data directory, made by `hacoord init`")
    add_secret(serve)
    text = "keep the example catalog (hacoord put, get, ...): on every node, or none"
    serve.add_argument("--catalog", action="store_true", help=text)
    serve.add_argument("--test-faults", action="store_true", help="let clients cut this node off: for tests")

    config_commands.add_commands(commands)
    status_commands.add_commands(commands)
    journal_commands.add_commands(commands)
    simulate_command.add_commands(commands)

    def of_catalog(name: str, verb: catalog.Verb, text: str) -> argparse.ArgumentParser:
        parser = add_asking(commands, name, lambda args: _catalog(args, verb), text, timeout=10.0)
        where = "a node, which knows who leads; repeatable"
        parser.add_argument("--node", required=True, action="append", metavar="HOST:PORT", help=where)
        return parser

    catalog.add_commands(of_catalog)
    member_commands.add_commands(commands)
    recovery_commands.add_commands(commands)
    token_commands.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
