"""What a data directory holds, and how what is left of a group becomes a group of its own.

`inspect` only reads. `Reset` is for when a quorum of a group's voters is gone for good: one member that is left founds
a new cluster, alone, with all that is in its log. What others had promised and this one does not have is lost, and
nobody can say how much that is. It is refused while a quorum could still be had: then nothing needs to be lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from hacoord.config import parse_address
from hacoord.disk.backup import copied, found, load, whole
from hacoord.disk.directory import held, lock_directory, sync
from hacoord.disk.storage import StorageError
from hacoord.images import decode
from hacoord.net.connect import ClientConnection, ConnectionFailed
from hacoord.net.handshake import HandshakeRefused
from hacoord.net.tls import Certificates
from hacoord.raft.group import Member
from hacoord.raft.messages import Base

PATIENCE = 2.0
"""Seconds for which an old member is waited for."""


def inspect(directory: Path) -> dict[str, object]:
    """What a data directory holds, all seals, digests and checksums verified, for JSON. Raises StorageError."""
    with held(directory) as holder:
        pass
    with copied(directory) as storage:
        hard, log = load(storage)
        image = storage.image
        if image:
            storage.read_image()
        return {
            "directory": str(directory),
            "running": holder,
            "cluster": storage.cluster,
            "node": storage.node,
            "disk": storage.disk,
            "incarnation": storage.incarnation,
            "founded": _position(storage.founded) if storage.founded else None,
            "term": hard.term,
            "vote": hard.vote,
            "log": {"first": log.base.last + 1, **_position(log.base_at(log.last))},
            "image": {**_position(image.base), "bytes": image.size} if image else None,
            "epochs": [list(record) for record in log.epochs(log.base.last + 1, log.last)],
            "members": [[m.name, m.part.value, m.address] for m in log.group.current.members.values()],
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """What an old member says to being asked; `there` is whether it may still belong to the old group."""

    member: Member
    there: bool
    said: str


def ask(member: Member, *, cluster: str, secret: bytes, certificates: Certificates | None) -> Answer:
    """Whether a member of `cluster` answers at its address. Who answers but refuses counts as being there."""
    try:
        with ClientConnection(
            parse_address(member.address),
            cluster=None,
            secret=secret,
            name="reset-group",
            inc="1-00000000",
            timeout=PATIENCE,
            certificates=certificates,
        ) as connection:
            peer = connection.peer
    except ConnectionFailed as error:
        return Answer(member, False, str(error))
    except HandshakeRefused as refused:
        return Answer(member, True, f"something answers, and refuses: {refused}")
    if (peer.cluster, peer.name) == (cluster, member.name):
        return Answer(member, True, "answers")
    return Answer(member, False, f"node {peer.name} of cluster {peer.cluster} is there instead")


@dataclass(frozen=True, slots=True)
class Reset:
    """What `hacoord reset-group` would do, and the token that has it done.

    The token is of exactly this: of the directory as it is, and of what is to become of it. Once it is done, the
    directory is another, so that no token works twice.
    """

    directory: Path
    old: str
    node: str
    disk: str
    term: int
    image: int
    end: Base
    cluster: str
    new_node: str
    address: str
    answers: tuple[Answer, ...]
    voters: tuple[str, ...]

    @property
    def aside(self) -> Path:
        """Where the old directory is kept."""
        return self.directory.with_name(f"{self.directory.name}.{self.old}")

    @property
    def fresh(self) -> Path:
        """Where the new directory is made, before it takes the old one's place."""
        return _fresh(self.directory)

    @property
    def token(self) -> str:
        """What `carry_out` wants to see."""
        what = (self.disk, self.term, self.end, self.cluster, self.new_node, self.address)
        return sha256(repr(what).encode()).hexdigest()[:16]

    def refusal(self) -> str | None:
        """Why this is not to be done, None if it may be."""
        if self.cluster == self.old:
            return f"cluster {self.old} is the old one: choose another name, so that the two are never taken for one"
        there = {answer.member.name for answer in self.answers if answer.there} | {self.node}
        left = [voter for voter in self.voters if voter in there]
        if len(left) > len(self.voters) // 2:
            return (
                f"a quorum of cluster {self.old} is there ({', '.join(left)} of {len(self.voters)} voters): start node "
                f"{self.node} with `hacoord serve`, and nothing is lost"
            )
        for path in (self.aside, self.fresh):
            if path.exists():
                return f"{path} is in the way: move it, or remove it if it is of a reset that was interrupted"
        return None


def plan(
    directory: Path,
    cluster: str,
    *,
    node: str | None,
    address: str | None,
    asker: Callable[[Member, str], Answer],
) -> Reset:
    """What resetting a group would do. `asker` asks a member of a cluster; see `ask`. Raises StorageError."""
    if directory.name in ("", ".."):  # it has a name where it is
        directory = directory.resolve()
    fresh = _fresh(directory)
    if fresh.exists() and not directory.exists():
        raise StorageError(f"a reset of {directory} was interrupted when it was all but done: rename {fresh} to it")
    with held(directory) as holder:
        if holder is not None:
            raise StorageError(f"{directory} is in use by process {holder}: stop it first")
        with copied(directory) as storage:
            hard, log = load(storage)
            group = log.group.current
            own = group.members.get(storage.node)
            if address is None and own is None:
                raise StorageError(
                    f"node {storage.node} is no member any more: say where it is to listen, with --address"
                )
            others = [member for member in group.members.values() if member.name != storage.node]
            return Reset(
                directory.absolute(),
                storage.cluster,
                storage.node,
                storage.disk,
                hard.term,
                storage.image.base.last if storage.image else 0,
                log.base_at(log.last),
                cluster,
                node or storage.node,
                address or (own.address if own else ""),
                tuple(asker(member, storage.cluster) for member in others),
                group.voters,
            )


def carry_out(reset: Reset, token: str) -> None:
    """Make the new directory, and put it in the old one's place, which is kept aside. Raises StorageError."""
    refusal = reset.refusal()
    if refusal:
        raise StorageError(refusal)
    if token != reset.token:
        raise StorageError("the token is not of what would be done now: look at it again, without --token")
    try:
        lock = lock_directory(reset.directory)
        try:
            with copied(reset.directory, locked=True) as storage:
                base, content = whole(storage)
                if base != reset.end or storage.disk != reset.disk:
                    raise StorageError(f"{reset.directory} has changed meanwhile: look at it again, without --token")
            members = {reset.new_node: reset.address}
            found(reset.fresh, reset.old, base, decode(content), reset.cluster, reset.new_node, members)
            os.rename(reset.directory, reset.aside)
            os.rename(reset.fresh, reset.directory)
            sync(reset.directory.parent)
        finally:
            os.close(lock)
    except OSError as error:
        raise StorageError(f"can't put {reset.fresh} in the place of {reset.directory}: {error}") from error


def _fresh(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.new")


def _position(base: Base) -> dict[str, object]:
    return {"last": base.last, "term": base.last_term, "epoch": base.epoch, "digest": base.digest.hex()}
