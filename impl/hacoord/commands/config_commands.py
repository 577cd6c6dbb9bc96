"""`hacoord config check` and `show`: a configuration looked at without starting anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from hacoord.config import Config, load, show


def add_commands(config: argparse.ArgumentParser) -> None:
    """Add the subcommands to `hacoord config`; each sets `command`, which returns the exit status."""
    commands = config.add_subparsers(title="commands", required=True)
    check = commands.add_parser("check", help="say whether a node would take this configuration")
    check.epilog = "example: hacoord config check hacoord.toml"
    check.add_argument("file", type=Path, metavar="FILE", help="settings, in TOML (docs/configuration.md)")
    check.set_defaults(command=_check)
    shown = commands.add_parser("show", help="show every setting with its value, unit and meaning, as TOML")
    shown.epilog = "example: hacoord config show hacoord.toml"
    shown.add_argument("file", type=Path, nargs="?", metavar="FILE", help="settings, in TOML (the defaults)")
    shown.set_defaults(command=_show)


def _check(args: argparse.Namespace) -> int:
    load(args.file)
    print(f"{args.file} is a good configuration")
    return 0


def _show(args: argparse.Namespace) -> int:
    print(show(load(args.file) if args.file else Config()), end="")
    return 0
