"""`hacoord simulate`: a cluster in virtual time, from a seed, for the sake of its traces."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from hacoord.commands.options import Commands, add_command, within
from hacoord.config import ConfigError
from hacoord.exits import Exit, NodeFailed
from hacoord.sim import Faults, Simulation

QUIET = 600.0
"""Seconds of virtual time without an event after which `simulate --events` gives up."""


def add_commands(commands: Commands) -> None:
    """Add the command."""
    text = "run a cluster in virtual time, from a seed, and leave its traces"
    example = "hacoord simulate run/sim --nodes 3 --seed 7 --seconds 60 --drop 0.1 --crash-every 4"
    simulate = add_command(commands, "simulate", _simulate, text, example)
    simulate.add_argument("directory", type=Path, metavar="DIR", help="where the traces go; made if it is missing")
    simulate.add_argument("--nodes", type=within(int, 1, 99), default=3, metavar="N", help="how many voters (3)")
    simulate.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed gives the same traces (0)")
    length = simulate.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=within(float, 0, 1e9), default=60.0, help="virtual time to run (60)")
    length.add_argument("--events", type=within(int, 1, 10**9), metavar="N", help="or until nodes traced so many")
    often = within(float, 0.01, 1e9)
    share = within(float, 0, 1)
    simulate.add_argument("--drop", type=share, default=0.0, metavar="P", help="share of messages that are lost (0)")
    simulate.add_argument("--duplicate", type=share, default=0.0, metavar="P", help="share that arrive twice (0)")
    simulate.add_argument("--crash-every", type=often, metavar="SECONDS", help="mean time between crashes (none)")
    simulate.add_argument(
        "--partition-every", type=often, metavar="SECONDS", help="mean time between cuts of the network (none)"
    )


def _simulate(args: argparse.Namespace) -> int:
    if any(args.directory.glob("*.ndjson")):
        raise ConfigError(f"{args.directory} holds traces already: name another directory")
    faults = Faults(args.drop, args.duplicate, crash_every=args.crash_every, partition_every=args.partition_every)
    simulation = Simulation(args.directory, args.nodes, seed=args.seed, faults=faults)
    cluster = simulation.cluster
    simulation.run(_enough(simulation, args.events) if args.events else lambda: simulation.now >= args.seconds)
    cluster.close()
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
