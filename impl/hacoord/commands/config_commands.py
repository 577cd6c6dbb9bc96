"""`hacoord config check` and `show`: a configuration looked at without starting anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from hacoord.commands.options import Commands, add_command
from hacoord.config import Config, load, show


def add_commands(commands: Commands) -> None:
    """Add `hacoord config` with its subcommands."""
    config = commands.add_parser("config", help="check settings, or show them all")
    parts: Commands = config.add_subparsers(title="commands", required=True)
    text = "say whether a node would take this configuration"
    check = add_command(parts, "check", _check, text, "hacoord config check hacoord.toml")
    check.add_argument("file", type=Path, metavar="FILE", help="settings, in TOML (docs/configuration.md)")
    text = "show every setting with its value, unit and meaning, as TOML"
    shown = add_command(parts, "show", _show, text, "hacoord config show hacoord.toml")
    shown.add_argument("file", type=Path, nargs="?", metavar="FILE", help="settings, in TOML (the defaults)")


def _check(args: argparse.Namespace) -> int:
    load(args.file)
    print(f"{args.file} is a good configuration")
    return 0


def _show(args: argparse.Namespace) -> int:
    print(show(load(args.file) if args.file else Config()), end="")
    return 0
