"""`hacoord token new`, `list` and `remove`: the file of tokens that the nodes accept."""

from __future__ import annotations

import argparse
from pathlib import Path

from hacoord.commands.options import Commands, add_command
from hacoord.config import ConfigError
from hacoord.net.rights import Right
from hacoord.net.tokens import TokensFile, open_tokens, write_private

_RIGHTS = [str(right) for right in Right if right is not Right.NONE]


def add_commands(commands: Commands) -> None:
    """Add `hacoord token` with its subcommands."""
    token = commands.add_parser("token", help="make, list and remove the tokens of clients")
    parts: Commands = token.add_subparsers(title="commands", required=True)
    example = "hacoord token new reports --right read --tokens-file tokens --out reports.token"
    new = add_command(parts, "new", _new, "make a token, and print it, once: it can't be shown again", example)
    new.add_argument("name", metavar="NAME", help="what the token is called, in messages and in the list")
    new.add_argument("--right", required=True, choices=_RIGHTS, help="what its owner may do")
    new.add_argument("--out", type=Path, metavar="FILE", help="write it into a new file for its owner only")
    listing = add_command(parts, "list", _list, "print the tokens: name, right")
    remove = add_command(parts, "remove", _remove, "accept a token no more, from its owner's next request on")
    remove.add_argument("name", metavar="NAME", help="what the token is called")
    for parser in (new, listing, remove):
        parser.add_argument(
            "--tokens-file", type=Path, required=True, metavar="FILE", help="what the nodes have as tokens_file"
        )


def _new(args: argparse.Namespace) -> int:
    tokens = open_tokens(args.tokens_file)
    if args.out is None:
        print(tokens.new(args.name, Right[args.right.upper()]))
        return 0
    write_private(args.out, "", replace=False)  # before the token counts: there may be no room, or another file
    try:
        token = tokens.new(args.name, Right[args.right.upper()])
    except ConfigError:
        args.out.unlink()
        raise
    write_private(args.out, f"{token}\n", replace=True)
    print(f"token {token.name}, right {args.right}, is in {args.out}")
    return 0


def _list(args: argparse.Namespace) -> int:
    for known in TokensFile(args.tokens_file).all():
        print(f"{known.name}\t{known.right}")
    return 0


def _remove(args: argparse.Namespace) -> int:
    TokensFile(args.tokens_file).remove(args.name)
    print(f"token {args.name} is removed")
    return 0
