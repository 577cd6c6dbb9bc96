"""What clients may ask of a node, and what it answers: its own operations, and those of the system that embeds it."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping
from functools import partial

from hacoord.checkpoint import Checkpoint
from hacoord.config import ConfigError
from hacoord.disk.storage import Storage
from hacoord.ha.frontend import Frontend
from hacoord.ha.membership import Membership, parse_change
from hacoord.journal import Journal, NotLeader, Outcome
from hacoord.monitoring.frontends import view
from hacoord.monitoring.monitor import Monitor
from hacoord.net.requests import ClientRequest
from hacoord.net.rights import OPERATIONS, Right
from hacoord.net.transport import Transport
from hacoord.replies import changed, entries, fate, key_of

log = logging.getLogger(__name__)

Reply = Callable[[dict[str, object]], None]
Handler = Callable[[Mapping[str, object], Reply], None]
"""Answers one request of an embedding system's own: the request, and the function to call with the reply."""


class Operations:
    """The operations of one node. Everything here belongs to its loop."""

    def __init__(
        self,
        frontend: Frontend,
        journal: Journal,
        membership: Membership,
        checkpoint: Checkpoint,
        monitor: Monitor,
        storage: Storage,
        transport: Transport,
        reply: Callable[[ClientRequest, dict[str, object]], None],
        *,
        test_faults: bool,
    ) -> None:
        """`reply` sends an answer. With `test_faults`, clients may cut the node off."""
        self._frontend = frontend
        self._raft = frontend.raft
        self._journal = journal
        self._membership = membership
        self._checkpoint = checkpoint
        self._monitor = monitor
        self._storage = storage
        self._transport = transport
        self._reply = reply
        self._test_faults = test_faults
        self._handlers: dict[str, Handler] = {}
        self._rights = dict(OPERATIONS)
        # Who asked for the handover under way, and to whom.
        self._handover: tuple[Reply, str] | None = None

    def add(self, operation: str, handler: Handler, right: Right) -> None:
        """See Node.on_request."""
        if operation in self._rights:
            raise ValueError(f"the operation {operation!r} is taken: choose another name")
        self._rights[operation] = right
        self._handlers[operation] = handler

    def answer(self, request: ClientRequest) -> None:
        """Answer a request, now or later."""
        reply = partial(self._reply, request)

        def settle(outcome: Outcome) -> None:
            reply(self.outcome(outcome))

        asked = request.body.get("op")
        needed = self._rights.get(asked, Right.ADMIN) if isinstance(asked, str) else Right.ADMIN
        if request.right < needed:
            reason = f"token {request.token} has the right {request.right}, and {asked!r} takes {needed}"
            reply({"error": "forbidden", "reason": f"{reason}: use another token"})
            return
        match request.body:
            case {"op": "append", "data": str(text)}:
                try:
                    self._journal.submit(base64.b64decode(text, validate=True), settle, key=key_of(request.body))
                except ValueError as error:
                    reply({"error": "bad_request", "reason": str(error)})
            case {"op": "status"}:
                reply(self._monitor.status())
            case {"op": "frontends"}:
                reply({"node": self._raft.name, "frontends": view(self._raft, self._monitor)})
            case {"op": "read_point"}:
                self._journal.submit_read(settle)
            case {"op": "read", "first": int(first), "last": int(last)}:
                reply(entries(self._journal, first, last))
            case {"op": "transfer", "to": str() | None as to, "timeout": float(timeout), "force": bool(force)}:
                self._transfer(reply, to, timeout, force)
            case {"op": "image"}:
                self._checkpoint.request(lambda last: reply({"image": last}))
            case {"op": "backup"}:
                self._checkpoint.request(lambda _: reply(self._backup()))
            case {"op": "backup_part", **fields}:
                reply(self._backup_part(fields))
            case {"op": "member", **fields}:
                self._change(reply, fields)
            case {"op": "fault", **fault}:
                reply(self._fault(fault))
            case {"op": str(operation)} if operation in self._handlers:
                self._handlers[operation](request.body, reply)
            case _:
                reason = f"unknown operation {asked!r}, or wrong fields: was node {self._raft.name} started for it?"
                reply({"error": "bad_request", "reason": reason})

    def outcome(self, outcome: Outcome) -> dict[str, object]:
        """What became of a write or a read, as a reply that `Client` understands."""
        return fate(outcome, self._raft.log.group.current)

    def best_heir(self) -> str | None:
        """The voter to hand over to: one that answers, and whose version of the protocol knows how to be asked."""
        return self._raft.best_heir(self._transport.connected - self._transport.outdated)

    def turn(self) -> None:
        """Answer whoever asked for a handover, once it is clear what has become of it."""
        if self._handover is None or self._raft.heir:
            return
        (reply, heir), self._handover = self._handover, None
        name = self._raft.name
        if self._raft.handed_over:
            reply({"handed_over": heir})
        elif self._frontend.stopped:
            reply({"error": "lost", "reason": f"{name} lost its office before {heir} was ready for it"})
        else:
            reply({"error": "timeout", "reason": f"{heir} did not take over in time; {name} goes on as LEADER"})

    def _transfer(self, reply: Reply, to: str | None, timeout: float, force: bool) -> None:
        """Begin to hand over; the reply comes when that is done, or has come to nothing."""
        name = self._raft.name
        try:
            self._frontend.demand_ready()  # another than the LEADER knows of no heir, but who leads
            heir = to or self.best_heir()
            if heir is None:
                raise ValueError(f"no other voter answers {name}: there is nobody to hand over to")
            self._frontend.hand_over(heir, timeout, force=force)
        except NotLeader as refusal:
            reply(self.outcome(refusal))
        except ValueError as error:
            reply({"error": "bad_request", "reason": str(error)})
        else:
            log.info("node %s hands over to %s", name, heir)
            self._handover = reply, heir

    def _change(self, reply: Reply, fields: Mapping[str, object]) -> None:
        """Have the group changed; the reply comes when that is committed, or refused."""
        try:
            change, timeout = parse_change(fields)
        except (ValueError, ConfigError) as error:
            reply({"error": "bad_request", "reason": str(error)})
            return
        cluster: dict[str, object] = {"cluster": self._storage.cluster, "founding": self._storage.members}
        group = self._raft.log.group
        self._membership.submit(change, timeout, lambda outcome: reply(changed(outcome, cluster, group.current)))

    def _backup(self) -> dict[str, object]:
        """The image of all that is applied, which has just been taken, is there to be fetched part by part."""
        storage, image = self._storage, self._raft.newest_image
        if image is None:
            return {"error": "empty", "reason": f"node {storage.node} knows nothing yet that is committed"}
        base = image.base
        described = [base.last, base.last_term, base.digest.hex(), base.epoch, image.size, image.checksum.hex()]
        return {"cluster": storage.cluster, "node": storage.node, "image": described}

    def _backup_part(self, fields: Mapping[str, object]) -> dict[str, object]:
        """Some of the image that was offered, from an offset on."""
        image, offset = self._storage.image, fields.get("offset")
        if image is None or image.checksum.hex() != fields.get("checksum"):
            return {"error": "gone", "reason": "there is a newer image meanwhile: ask for a backup again"}
        if type(offset) is not int or not 0 <= offset < image.size:
            return {"error": "bad_request", "reason": f"an offset from 0 to {image.size - 1} is wanted"}
        return {"data": base64.b64encode(self._storage.image_part(image, offset)).decode()}

    def _fault(self, fault: Mapping[str, object]) -> dict[str, object]:
        """Cut this node off from others, in both directions, or let it come back. Only for tests."""
        blocked, members = self._transport.blocked, self._raft.log.group.current.members
        if not self._test_faults:
            return {"error": "refused", "reason": f"node {self._raft.name} was started without --test-faults"}
        match fault:
            case {"block": [*names]} if all(name in members for name in names):
                blocked.update(str(name) for name in names)
            case {"unblock": True}:
                blocked.clear()
            case _:
                return {"error": "bad_request", "reason": "block takes a list of members, unblock takes true"}
        return {"blocked": sorted(blocked)}
