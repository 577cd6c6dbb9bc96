"""A data directory as such: made, locked by one process, synced."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "node.lock"
PATIENCE = 10.0
"""Seconds for which those are waited for who copy the directory."""


class StorageError(Exception):
    """The data directory cannot be used, or did not take what it was given. The message says what to do next."""


def lock_directory(directory: Path) -> int:
    """Take the directory for this process; returns the descriptor that holds the lock. Raises StorageError, OSError."""
    fd = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(fd)
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except BlockingIOError:
        holder = _holder(fd)
        os.close(fd)
        raise StorageError(f"{directory} is in use by process {holder}: stop it first") from None
    except OSError:
        os.close(fd)
        raise
    return fd


def _lock(fd: int) -> None:
    """Lock for this process alone. Those who only look (`held`) are waited for. Raises BlockingIOError."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # BlockingIOError: a node works on it
        fcntl.flock(fd, fcntl.LOCK_UN)
        time.sleep(0.02)


@contextmanager
def held(directory: Path) -> Iterator[str | None]:
    """Keep nodes from starting on a directory; or the number of the process that runs on it. Raises OSError."""
    try:
        fd = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):  # nobody has started on it yet
        yield None
        return
    try:
        holder = None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(fd)
        yield holder
    finally:
        os.close(fd)


def _holder(lock: int) -> str:
    """The number of the process that has the lock."""
    return os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"


def make_directory(directory: Path) -> None:
    """mkdir -p in which every new name is synced into its parent."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    sync(directory.parent)


def sync(path: Path) -> None:
    """Have what a file holds, or a directory names, on disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
