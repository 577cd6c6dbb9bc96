"""What several commands take: how long, which members, and for those that ask nodes, as whom."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from hacoord.client import Client
from hacoord.config import Config, ConfigError, load, parse_address, read_secret
from hacoord.net.tls import certificates
from hacoord.net.tokens import read_token

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run = Callable[[argparse.Namespace], int]
"""Carries a command out; returns its exit status."""

LONGEST = 1e6
"""Seconds that anything may take."""


def add_command(commands: Commands, name: str, run: Run, text: str, example: str = "") -> argparse.ArgumentParser:
    """Add one command; `text` says what it does."""
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(command=run)
    if example:
        parser.epilog = f"example: {example}"
    return parser


def add_asking(
    commands: Commands, name: str, run: Run, text: str, example: str = "", *, timeout: float | None = None
) -> argparse.ArgumentParser:
    """Add one that asks nodes as `client` does; with `timeout`, the seconds it tries unless it is told otherwise."""
    parser = add_command(commands, name, run, text, example)
    if timeout is not None:
        patience = f"how long to try ({timeout:g})"
        parser.add_argument("--timeout", type=seconds, default=timeout, metavar="SECONDS", help=patience)
    add_secret(parser).add_argument(
        "--token-file", type=Path, metavar="FILE", help="a token, made by `hacoord token new`"
    )
    return parser


def add_secret(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Have a command take what `credentials` looks at; returns the group of what may prove who asks."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings, in TOML (docs/configuration.md)")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--secret-file", type=Path, metavar="FILE", help="the cluster's secret, for its owner only")
    return who


def credentials(args: argparse.Namespace) -> tuple[bytes, Config]:
    """The cluster's secret, and the settings. Raises ConfigError."""
    config = _config(args)
    secret_file: Path | None = args.secret_file or config.secret_file
    if secret_file is None:
        raise ConfigError("no secret: name its file with --secret-file, or as secret_file in the configuration")
    return read_secret(secret_file), config


def client(args: argparse.Namespace, addresses: Sequence[str], *, timeout: float) -> Client:
    """The client that a command line describes. Raises ConfigError."""
    for address in addresses:
        parse_address(address)
    if args.token_file:
        config = _config(args)
        return Client(addresses, read_token(args.token_file), certificates=certificates(config.tls), timeout=timeout)
    secret, config = credentials(args)
    return Client(addresses, secret, certificates=certificates(config.tls), timeout=timeout)


def founders(texts: Iterable[str]) -> dict[str, str]:
    """Name to address, of members that stand as NAME=HOST:PORT. Raises ConfigError."""
    members: dict[str, str] = {}
    for text in texts:
        name, equals, address = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--member {text!r}: NAME=HOST:PORT is wanted")
        if name in members:
            raise ConfigError(f"--member {name} is named twice")
        parse_address(address)
        if address in members.values():
            raise ConfigError(f"--member {name}: {address} is another member's address")
        members[name] = address
    return members


def seconds(text: str) -> float:
    """A type for argparse: how long something may take."""
    return within(float, 0, LONGEST)(text)


def within(kind: Callable[[str], float], low: float, high: float) -> Callable[[str], float]:
    """A type for argparse: a number from `low` to `high`."""

    def number(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    return number


def _config(args: argparse.Namespace) -> Config:
    return load(args.config) if args.config else Config()
