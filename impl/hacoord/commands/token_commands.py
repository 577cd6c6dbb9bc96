"""`hacoord token new`, `list` and `remove`: the file of tokens that the nodes accept."""

from __future__ import annotations

import argparse
from pathlib import Path

from hacoord.config import ConfigError
from hacoord.net.rights import Right
from hacoord.net.tokens import TokensFile, open_tokens, write_private

_RIGHTS = [str(right) for right in Right if right is not Right.NONE]


def add_commands(token: argparse.ArgumentParser) -> None:
    """Add the subcommands to `hacoord token`; each sets `command`, which returns the exit status."""
    commands = token.add_subparsers(title="commands", required=True)
    new = commands.add_parser("new", help="make a token, and print it, once: it can't be shown again")
    new.epilog = "example: hacoord token new reports --right read --tokens-file tokens --out reports.token"
    new.add_argument("name", metavar="NAME", help="what the token is called, in messages and in the list")
    new.add_argument("--right", required=True, choices=_RIGHTS, help="what its owner may do")
    new.add_argument("--out", type=Path, metavar="FILE", help="write it into a new file for its owner only")
    new.set_defaults(command=_new)
    listing = commands.add_parser("list", help="print the tokens: name, right")
    listing.set_defaults(command=_list)
    remove = commands.add_parser("remove", help="accept a token no more, from its owner's next request on")
    remove.add_argument("name", metavar="NAME", help="what the token is called")
    remove.set_defaults(command=_remove)
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
