"""How a process of hacoord ends: its exit statuses, what each means, and which failure ends in which."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from hacoord.config import ConfigError
from hacoord.disk.storage import StorageError
from hacoord.ha.frontend import EXIT_HANDED_OVER, EXIT_LOST_LEADERSHIP, EXIT_REMOVED
from hacoord.raft.core import LogDiverged
from hacoord.trace import TraceFailed


class Exit(IntEnum):
    """How a process of hacoord ends: its exit status. docs/operating.md has the same table."""

    STOPPED = 0
    UNEXPECTED = 1
    USAGE = 2
    LOST_LEADERSHIP = EXIT_LOST_LEADERSHIP
    STORAGE = 4
    TRACE = 5
    LISTEN = 6
    REFUSED = 7
    STATE_CHANGE = 8
    REPLAY = 9
    DIVERGED = 10
    HANDED_OVER = EXIT_HANDED_OVER
    REMOVED = EXIT_REMOVED


class NodeFailed(Exception):
    """The node could not start, or had to end; `code` is the exit status to end with."""

    def __init__(self, code: Exit, reason: str) -> None:
        super().__init__(reason)
        self.code = code


MEANING: dict[Exit, str] = {
    Exit.STOPPED: "stopped in good order",
    Exit.UNEXPECTED: "an error nobody foresaw",
    Exit.USAGE: "wrong usage, configuration or secret file",
    Exit.LOST_LEADERSHIP: "it was LEADER and lost its office; start it again, and it joins as INIT",
    Exit.STORAGE: "the data directory can't be used, or the disk failed",
    Exit.TRACE: "the trace could not be written, and it is required",
    Exit.LISTEN: "it can't listen on its address",
    Exit.REFUSED: "so many members refused it that it can't be part of a majority",
    Exit.STATE_CHANGE: "a change of the frontend's type failed or hung",
    Exit.REPLAY: "the embedding system could not replay a committed entry",
    Exit.HANDED_OVER: "it handed its office over as it was asked to; start it again, and it joins as INIT",
    Exit.DIVERGED: "its log contradicts the leader's",
    Exit.REMOVED: "it was removed from the group: it has nothing to do any more",
}


@contextmanager
def failures() -> Iterator[None]:
    """Turn what files, storage, trace and core raise into NodeFailed, with the exit status that belongs to it."""
    try:
        yield
    except ConfigError as error:
        raise NodeFailed(Exit.USAGE, str(error)) from error
    except StorageError as error:
        raise NodeFailed(Exit.STORAGE, str(error)) from error
    except TraceFailed as error:
        raise NodeFailed(Exit.TRACE, str(error)) from error
    except LogDiverged as error:
        raise NodeFailed(Exit.DIVERGED, f"{error}; keep this node's files, they are evidence") from error
