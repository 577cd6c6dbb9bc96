"""What a client may do. One table for all operations; what is not in it, only an administrator may."""

from __future__ import annotations

from enum import IntEnum


class Right(IntEnum):
    """Each includes those before it. Whoever knows the cluster's secret has ADMIN: it could speak as a node."""

    NONE = 0
    READ = 1
    WRITE = 2
    ADMIN = 3

    def __str__(self) -> str:
        return self.name.lower()


OPERATIONS: dict[str, Right] = {
    "status": Right.READ,
    "frontends": Right.READ,
    "read": Right.READ,
    "read_point": Right.READ,
    "append": Right.WRITE,
    "image": Right.ADMIN,
    "transfer": Right.ADMIN,
    "backup": Right.ADMIN,
    "backup_part": Right.ADMIN,
    "member": Right.ADMIN,
    "fault": Right.ADMIN,
}
"""What a node answers by itself, and the right that takes. An embedding system names its own in `Node.on_request`."""
