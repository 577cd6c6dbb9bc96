"""`hacoord append`, `read`, `image` and `transfer`: the journal of a cluster that works, and who leads it."""

from __future__ import annotations

import argparse
import secrets
import sys

from hacoord.client import NotWritten, RequestRefused, Unreachable
from hacoord.commands.options import Commands, add_asking, client, seconds
from hacoord.config import ConfigError
from hacoord.exits import Exit, NodeFailed
from hacoord.journal import OutcomeUnknown


def add_commands(commands: Commands) -> None:
    """Add the commands."""
    nodes = "127.0.0.1:7001 127.0.0.1:7002"
    text, example = "write one journal entry, at whichever node leads", f'{nodes} --data "hello" --secret-file secret'
    append = add_asking(commands, "append", _append, text, f"hacoord append {example}", timeout=10.0)
    append.add_argument("address", nargs="+", metavar="HOST:PORT", help="some nodes; they know who leads")
    append.add_argument("--data", metavar="TEXT", help="the entry; standard input when it is left out")
    append.add_argument("--key", metavar="KEY", help="tried again with the same key, it is written once (a random one)")

    text, example = "have a node take an image of its journal now", "127.0.0.1:7002 --secret-file secret"
    image = add_asking(commands, "image", _image, text, f"hacoord image {example}", timeout=60.0)
    image.add_argument("address", metavar="HOST:PORT", help="the node")

    text = "print the committed journal: index, term, epoch, data"
    example = "hacoord read 127.0.0.1:7002 --first 10 --secret-file secret"
    read = add_asking(commands, "read", _read, text, example, timeout=10.0)
    read.add_argument("address", nargs="+", metavar="HOST:PORT", help="some nodes; they know who leads")
    read.add_argument(
        "--local", action="store_true", help="what the first of these nodes has, which may lag behind what others wrote"
    )
    read.add_argument("--first", type=int, default=1, metavar="INDEX", help="first log index (1)")
    read.add_argument("--last", type=int, metavar="INDEX", help="last log index (the end)")

    text, example = "let another voter lead; the node that led ends", f"{nodes} --to n2 --secret-file secret"
    transfer = add_asking(commands, "transfer", _transfer, text, f"hacoord transfer {example}")
    transfer.add_argument("address", nargs="+", metavar="HOST:PORT", help="some nodes; they know who leads")
    transfer.add_argument("--to", metavar="NAME", help="who is to lead (whoever has most of the log)")
    text = "how long to wait until it has all of the log (10)"
    transfer.add_argument("--timeout", type=seconds, default=10.0, metavar="SECONDS", help=text)
    text = "do not wait; then it may well be another who is elected"
    transfer.add_argument("--force", action="store_true", help=text)


def _append(args: argparse.Namespace) -> int:
    with client(args, args.address, timeout=args.timeout) as asking:
        if args.data is None and sys.stdin is None:
            raise ConfigError("standard input is closed: give the entry with --data")
        data = sys.stdin.buffer.read() if args.data is None else args.data.encode(errors="surrogateescape")
        key = args.key or secrets.token_hex(8)
        try:
            receipt = asking.append(data, key=key)
        except OutcomeUnknown as error:
            raise OutcomeUnknown(f"{error}; with --key {key} it is safe to try again") from error
        except (NotWritten, RequestRefused, ValueError) as error:
            raise NodeFailed(Exit.UNEXPECTED, f"not written: {error}") from error
    print(f"index {receipt.index}, term {receipt.term}, epoch {receipt.epoch}")
    return Exit.STOPPED


def _image(args: argparse.Namespace) -> int:
    with client(args, [args.address], timeout=args.timeout) as asking:
        print(f"image of the entries up to {asking.image(args.address)}")
    return Exit.STOPPED


def _read(args: argparse.Namespace) -> int:
    with client(args, args.address, timeout=args.timeout) as asking:
        if args.local:
            entries = asking.read(args.address[0], args.first, args.last)
        else:
            entries = asking.linearizable_read(args.first, args.last)
        for entry in entries:
            text = entry.data.decode(errors="backslashreplace")
            print(f"{entry.index}\t{entry.term}\t{entry.epoch}\t{text}")
    return Exit.STOPPED


def _transfer(args: argparse.Namespace) -> int:
    with client(args, args.address, timeout=args.timeout + 5) as asking:
        try:
            heir = asking.transfer(args.to, timeout=args.timeout, force=args.force)
        except (RequestRefused, Unreachable) as error:
            raise NodeFailed(Exit.UNEXPECTED, f"not handed over: {error}") from error
    print(f"the office of LEADER was handed over to {heir}; who had it ends, with status {int(Exit.HANDED_OVER)}")
    return Exit.STOPPED
