"""The command line: `hacoord init`, `serve`, `status`, `append`, `read`, `simulate`, and others.

Every error is one line on standard error and an exit status of `node.Exit`; a traceback is a bug. The secret is always
read from a file: what stands on a command line, every user of the machine can see.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hacoord import __version__
from hacoord.catalog import commands as catalog
from hacoord.catalog.machine import BadCommand
from hacoord.catalog.service import serve
from hacoord.client import Client, NotWritten, RequestRefused, Unreachable
from hacoord.commands import config_commands, member_commands, recovery_commands, seconds, token_commands
from hacoord.config import Config, ConfigError, load, parse_address, read_secret
from hacoord.disk.storage import StorageError, create
from hacoord.journal import OutcomeUnknown
from hacoord.monitoring import frontends, logs
from hacoord.net.tls import certificates
from hacoord.net.tokens import read_token
from hacoord.node import MEANING, Exit, Node, NodeFailed
from hacoord.sim import Faults, Simulation
from hacoord.trace import TraceFailed

UNKNOWN = 3
"""Exit status when nobody can say whether the entry is written, or the group changed."""

QUIET = 600.0
"""Seconds of virtual time without an event after which `simulate --events` gives up."""

_COLUMNS = ("node", "type", "role", "term", "epoch", "leader", "last", "commit", "ready")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    args = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = args.command
    try:
        status = command(args)
        sys.stdout.flush()  # here, where it can still be said that nobody takes it
        return status
    except ConfigError as error:
        return _complain(Exit.USAGE, str(error))
    except NodeFailed as error:
        return _complain(error.code, str(error))
    except OutcomeUnknown as error:
        return _complain(UNKNOWN, f"outcome unknown: {error}")
    except BrokenPipeError:
        # Whoever read our output has heard enough; say nothing when the interpreter closes it.
        _hush()
        return Exit.UNEXPECTED
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        _hush()
        return _complain(Exit.UNEXPECTED, f"{error}: make room, or correct the path")
    except Exception as error:  # the last resort: one line, never a traceback
        return _complain(Exit.UNEXPECTED, f"unexpected {type(error).__name__}: {error}")


def _hush() -> None:
    """Have what is still to be written to standard output forgotten, or the interpreter would complain at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _init(args: argparse.Namespace) -> int:
    members: dict[str, str] = {}
    for text in args.member:
        name, equals, address = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--member {text!r}: NAME=HOST:PORT is wanted")
        if name in members:
            raise ConfigError(f"--member {name} is named twice")
        parse_address(address)
        if address in members.values():
            raise ConfigError(f"--member {name}: {address} is another member's address")
        members[name] = address
    try:
        create(args.directory, cluster=args.cluster, node=args.node, members=members)
    except StorageError as error:
        raise NodeFailed(Exit.STORAGE, str(error)) from error
    print(f"{args.directory} is now node {args.node} of cluster {args.cluster}, whose members are {', '.join(members)}")
    return Exit.STOPPED


def _serve(args: argparse.Namespace) -> int:
    config = load(args.config) if args.config else Config()
    logs.set_up(config.log.format)
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    node = Node(args.directory, config, _secret(args, config), test_faults=args.test_faults)
    if args.catalog:
        serve(node)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.stop())
    if asked:  # while it started
        node.stop()
    code = node.run()
    if code is not Exit.STOPPED:
        return _complain(code, f"{node.name}: {MEANING[code]}")
    return code


def _status(args: argparse.Namespace) -> int:
    rows: list[dict[str, object]] = []
    with _client(args, args.address, timeout=2.0) as client:
        for address in args.address:
            try:
                rows.append({"address": address, **client.status(address)})
            except (Unreachable, RequestRefused) as error:
                rows.append({"address": address, "error": str(error)})
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        _print_status(rows)
    return Exit.UNEXPECTED if any("error" in row for row in rows) else Exit.STOPPED


def _show_frontends(args: argparse.Namespace) -> int:
    with _client(args, args.address, timeout=2.0) as client:
        try:
            rows = frontends.rows(client, args.address)
        except Unreachable as error:
            return _complain(Exit.UNEXPECTED, str(error))
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


def _print_status(rows: Sequence[dict[str, object]]) -> None:
    _print_table([row for row in rows if "error" not in row], _COLUMNS)
    for row in rows:
        if "error" in row:
            print(f"hacoord: {row['error']}", file=sys.stderr)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def _append(args: argparse.Namespace) -> int:
    with _client(args, args.address, timeout=args.timeout) as client:
        data = sys.stdin.buffer.read() if args.data is None else args.data.encode(errors="surrogateescape")
        key = args.key or secrets.token_hex(8)
        try:
            receipt = client.append(data, key=key)
        except OutcomeUnknown as error:
            raise OutcomeUnknown(f"{error}; with --key {key} it is safe to try again") from error
        except (NotWritten, RequestRefused, ValueError) as error:
            return _complain(Exit.UNEXPECTED, f"not written: {error}")
    print(f"index {receipt.index}, term {receipt.term}, epoch {receipt.epoch}")
    return Exit.STOPPED


def _image(args: argparse.Namespace) -> int:
    with _client(args, [args.address], timeout=args.timeout) as client:
        try:
            print(f"image of the entries up to {client.image(args.address)}")
        except (Unreachable, RequestRefused) as error:
            return _complain(Exit.UNEXPECTED, str(error))
    return Exit.STOPPED


def _read(args: argparse.Namespace) -> int:
    with _client(args, args.address, timeout=args.timeout) as client:
        try:
            if args.local:
                entries = client.read(args.address[0], args.first, args.last)
            else:
                entries = client.linearizable_read(args.first, args.last)
            for entry in entries:
                text = entry.data.decode(errors="backslashreplace")
                print(f"{entry.index}\t{entry.term}\t{entry.epoch}\t{text}")
        except (Unreachable, RequestRefused) as error:
            return _complain(Exit.UNEXPECTED, str(error))
    return Exit.STOPPED


def _transfer(args: argparse.Namespace) -> int:
    with _client(args, args.address, timeout=args.timeout + 5) as client:
        try:
            heir = client.transfer(args.to, timeout=args.timeout, force=args.force)
        except (RequestRefused, Unreachable) as error:
            return _complain(Exit.UNEXPECTED, f"not handed over: {error}")
    print(f"the office of LEADER was handed over to {heir}; who had it ends, with status {int(Exit.HANDED_OVER)}")
    return Exit.STOPPED


def _catalog(args: argparse.Namespace, verb: catalog.Verb) -> int:
    with _client(args, args.node, timeout=args.timeout) as client:
        try:
            return verb(args, client)
        except BadCommand as error:
            return _complain(Exit.USAGE, str(error))
        except (NotWritten, RequestRefused, Unreachable, ValueError) as error:
            return _complain(Exit.UNEXPECTED, str(error))


def _simulate(args: argparse.Namespace) -> int:
    if any(args.directory.glob("*.ndjson")):
        raise ConfigError(f"{args.directory} holds traces already: name another directory")
    faults = Faults(args.drop, args.duplicate, crash_every=args.crash_every, partition_every=args.partition_every)
    try:
        simulation = Simulation(args.directory, args.nodes, seed=args.seed, faults=faults)
        cluster = simulation.cluster
        simulation.run(_enough(simulation, args.events) if args.events else lambda: simulation.now >= args.seconds)
        cluster.close()
    except TraceFailed as error:
        raise NodeFailed(Exit.TRACE, str(error)) from error
    print(
        f"{simulation.now:.1f} s of {args.nodes} nodes, seed {args.seed}: {cluster.events} events of nodes in "
        f"{args.directory}; to judge them: trace-check replay {args.directory}"
    )
    return Exit.STOPPED


def _enough(simulation: Simulation, wanted: int) -> Callable[[], bool]:
    """Whether nodes have traced so many events. Raises NodeFailed when nothing happens any more."""
    events, since = 0, 0.0

    def enough() -> bool:
        nonlocal events, since
        if simulation.cluster.events > events:
            events, since = simulation.cluster.events, simulation.now
        if simulation.now > since + QUIET:
            simulation.cluster.close()
            so_far = f"{events} of {wanted} events, and no more for {QUIET:g} s of virtual time"
            raise NodeFailed(Exit.UNEXPECTED, f"{so_far}: lose fewer messages (--drop), or give --seconds")
        return events >= wanted

    return enough


def _within(kind: Callable[[str], float], low: float, high: float) -> Callable[[str], float]:
    """A type for argparse: a number from `low` to `high`."""

    def number(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    return number


def _client(args: argparse.Namespace, addresses: Sequence[str], *, timeout: float) -> Client:
    for address in addresses:
        parse_address(address)
    config = load(args.config) if args.config else Config()
    credential = read_token(args.token_file) if args.token_file else _secret(args, config)
    return Client(addresses, credential, certificates=certificates(config.tls), timeout=timeout)


def _credentials(args: argparse.Namespace) -> tuple[bytes, Config]:
    config = load(args.config) if args.config else Config()
    return _secret(args, config), config


def _secret(args: argparse.Namespace, config: Config) -> bytes:
    secret_file: Path | None = args.secret_file or config.secret_file
    if secret_file is None:
        raise ConfigError("no secret: name its file with --secret-file, or as secret_file in the configuration")
    return read_secret(secret_file)


def _complain(code: int, reason: str) -> int:
    print("hacoord: " + " ".join(reason.split()), file=sys.stderr)
    return int(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hacoord",
        description="A highly available, replicated journal with one writer at a time, that leaves evidence of it.",
        epilog="Exit codes are in docs/operating.md.",
    )
    parser.add_argument("--version", action="version", version=f"hacoord {__version__}")
    commands = parser.add_subparsers(title="commands", required=True)

    init = _command(commands, "init", _init, "make the data directory of a new node; each node of a cluster, once")
    init.epilog = (
        "example: hacoord init data/n1 --cluster demo --node n1 "
        "--member n1=127.0.0.1:7001 --member n2=127.0.0.1:7002 --member n3=127.0.0.1:7003"
    )
    init.add_argument("directory", type=Path, metavar="DIR", help="the data directory; made if it is missing")
    init.add_argument("--cluster", required=True, metavar="ID", help="identity of the cluster, the same for all nodes")
    init.add_argument("--node", required=True, metavar="NAME", help="which of the members this is")
    init.add_argument(
        "--member", required=True, action="append", metavar="NAME=HOST:PORT", help="one voting member; repeat for each"
    )

    serve = _command(commands, "serve", _serve, "run a node until SIGTERM or SIGINT")
    serve.epilog = "example: hacoord serve data/n1 --secret-file secret"
    serve.add_argument("directory", type=Path, metavar="DIR", help="the data directory, made by `hacoord init`")
    serve.add_argument("--config", type=Path, metavar="FILE", help="settings, in TOML (docs/configuration.md)")
    serve.add_argument("--secret-file", type=Path, metavar="FILE", help="the cluster's secret, for its owner only")
    serve.add_argument(
        "--catalog",
        action="store_true",
        help="keep the example catalog (hacoord put, get, ...): on every node, or none",
    )
    serve.add_argument("--test-faults", action="store_true", help="let clients cut this node off: for tests")

    config_commands.add_commands(commands.add_parser("config", help="check settings, or show them all"))

    status = _command(commands, "status", _status, "show what each node says it is")
    status.epilog = "example: hacoord status 127.0.0.1:7001 127.0.0.1:7002 --secret-file secret"
    status.add_argument("address", nargs="+", metavar="HOST:PORT", help="a node")
    status.add_argument("--json", action="store_true", help="as JSON")

    parts = commands.add_parser("show", help="show the frontends of a cluster").add_subparsers(required=True)
    frontend = _command(parts, "frontends", _show_frontends, "show all frontends of a cluster, from any of its nodes")
    frontend.epilog = "example: hacoord show frontends 127.0.0.1:7001 127.0.0.1:7002 --secret-file secret"
    frontend.add_argument("address", nargs="+", metavar="HOST:PORT", help="some nodes; the first that answers will do")
    frontend.add_argument("--json", action="store_true", help="as JSON")

    append = _command(commands, "append", _append, "write one journal entry, at whichever node leads")
    append.epilog = 'example: hacoord append 127.0.0.1:7001 127.0.0.1:7002 --data "hello" --secret-file secret'
    append.add_argument("address", nargs="+", metavar="HOST:PORT", help="some nodes; they know who leads")
    append.add_argument("--data", metavar="TEXT", help="the entry; standard input when it is left out")
    append.add_argument("--key", metavar="KEY", help="tried again with the same key, it is written once (a random one)")
    append.add_argument("--timeout", type=seconds, default=10.0, metavar="SECONDS", help="how long to try (10)")

    image = _command(commands, "image", _image, "have a node take an image of its journal now")
    image.epilog = "example: hacoord image 127.0.0.1:7002 --secret-file secret"
    image.add_argument("address", metavar="HOST:PORT", help="the node")
    image.add_argument("--timeout", type=seconds, default=60.0, metavar="SECONDS", help="how long it may take (60)")

    read = _command(commands, "read", _read, "print the committed journal: index, term, epoch, data")
    read.epilog = "example: hacoord read 127.0.0.1:7002 --first 10 --secret-file secret"
    read.add_argument("address", nargs="+", metavar="HOST:PORT", help="some nodes; they know who leads")
    read.add_argument(
        "--local", action="store_true", help="what the first of these nodes has, which may lag behind what others wrote"
    )
    read.add_argument("--timeout", type=seconds, default=10.0, metavar="SECONDS", help="how long to try (10)")
    read.add_argument("--first", type=int, default=1, metavar="INDEX", help="first log index (1)")
    read.add_argument("--last", type=int, metavar="INDEX", help="last log index (the end)")

    transfer = _command(commands, "transfer", _transfer, "let another voter lead; the node that led ends")
    transfer.epilog = "example: hacoord transfer 127.0.0.1:7001 127.0.0.1:7002 --to n2 --secret-file secret"
    transfer.add_argument("address", nargs="+", metavar="HOST:PORT", help="some nodes; they know who leads")
    transfer.add_argument("--to", metavar="NAME", help="who is to lead (whoever has most of the log)")
    transfer.add_argument(
        "--timeout",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait until it has all of the log (10)",
    )
    transfer.add_argument(
        "--force", action="store_true", help="do not wait; then it may well be another who is elected"
    )

    simulate = _command(
        commands, "simulate", _simulate, "run a cluster in virtual time, from a seed, and leave its traces"
    )
    simulate.epilog = "example: hacoord simulate run/sim --nodes 3 --seed 7 --seconds 60 --drop 0.1 --crash-every 4"
    simulate.add_argument("directory", type=Path, metavar="DIR", help="where the traces go; made if it is missing")
    simulate.add_argument("--nodes", type=_within(int, 1, 99), default=3, metavar="N", help="how many voters (3)")
    simulate.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed gives the same traces (0)")
    length = simulate.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=_within(float, 0, 1e9), default=60.0, help="virtual time to run (60)")
    length.add_argument("--events", type=_within(int, 1, 10**9), metavar="N", help="or until nodes traced so many")
    often = _within(float, 0.01, 1e9)
    share = _within(float, 0, 1)
    simulate.add_argument("--drop", type=share, default=0.0, metavar="P", help="share of messages that are lost (0)")
    simulate.add_argument("--duplicate", type=share, default=0.0, metavar="P", help="share that arrive twice (0)")
    simulate.add_argument("--crash-every", type=often, metavar="SECONDS", help="mean time between crashes (none)")
    simulate.add_argument(
        "--partition-every", type=often, metavar="SECONDS", help="mean time between cuts of the network (none)"
    )

    def of_catalog(name: str, verb: catalog.Verb, text: str) -> argparse.ArgumentParser:
        parser = _command(commands, name, lambda args: _catalog(args, verb), text)
        parser.add_argument(
            "--node",
            required=True,
            action="append",
            metavar="HOST:PORT",
            help="a node, which knows who leads; repeatable",
        )
        parser.add_argument("--timeout", type=seconds, default=10.0, metavar="SECONDS", help="how long to try (10)")
        verbs.append(parser)
        return parser

    verbs: list[argparse.ArgumentParser] = []
    catalog.add_commands(of_catalog)
    verbs += member_commands.add_commands(commands, lambda args, at: _client(args, at, timeout=args.timeout + 5))
    recovering = recovery_commands.add_commands(
        lambda name, function, text: _command(commands, name, function, text),
        lambda args, addresses: _client(args, addresses, timeout=args.timeout),
        _credentials,
    )
    for client in (status, frontend, append, image, read, transfer, *verbs, *recovering):
        client.add_argument("--config", type=Path, metavar="FILE", help="settings, in TOML: tls and secret_file count")
        who = client.add_mutually_exclusive_group()
        who.add_argument("--secret-file", type=Path, metavar="FILE", help="the cluster's secret")
        who.add_argument("--token-file", type=Path, metavar="FILE", help="a token, made by `hacoord token new`")
    token_commands.add_commands(commands.add_parser("token", help="make, list and remove the tokens of clients"))
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    function: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(command=function)
    return parser


if __name__ == "__main__":
    sys.exit(main())
