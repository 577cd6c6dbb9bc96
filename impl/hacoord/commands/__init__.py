"""The command line: `hacoord` and its subcommands, and the demonstration."""

from __future__ import annotations

import argparse

LONGEST = 1e6
"""Seconds that anything may take."""


def seconds(text: str) -> float:
    """A type for argparse: how long something may take."""
    value = float(text)
    if not 0 <= value <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {LONGEST:g}")
    return value
