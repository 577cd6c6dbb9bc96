"""High-availability coordination that can prove itself: leader election, epoch fencing and a replicated journal."""

__version__ = "0.1.0"
