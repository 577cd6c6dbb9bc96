"""A whole cluster in one process: the same core under a seeded scheduler with virtual time.

`Cluster` offers what can happen one step at a time; `Simulation` chooses the steps. Both write real traces.
"""

from hacoord.sim.cluster import Client, Cluster, CrashPoint, Disk, Process
from hacoord.sim.simulation import Faults, Simulation

__all__ = ["Client", "Cluster", "CrashPoint", "Disk", "Faults", "Process", "Simulation"]
