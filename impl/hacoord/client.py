"""A client of the cluster: finds the leader, appends, reads, asks for the status, and writes down what it was promised.

A refused write is tried again, at whoever leads by then, until the timeout: it is certain that it was not written. An
ambiguous one only if it has an idempotency key, with which it is not written twice (keys.py); else `OutcomeUnknown`
leaves the decision to the caller, who alone knows what a duplicate would do.

With a trace directory, the client traces each write and each linearizable read (docs/trace-format.md): the checker can
then look for writes that were acknowledged and lost, and for reads that were stale.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self, cast

from hacoord.client_trace import ClientTrace
from hacoord.config import parse_address
from hacoord.journal import MAX_DATA, JournalEntry, OutcomeUnknown, ReadPoint, Receipt
from hacoord.net.connect import ClientConnection, ConnectionFailed, RequestUnanswered
from hacoord.net.handshake import HandshakeRefused
from hacoord.net.tls import Certificates
from hacoord.net.tokens import Token
from hacoord.raft.messages import Ref

PAUSE_MIN = 0.02
PAUSE_MAX = 0.25
"""Seconds between two rounds of looking for a leader; doubled from the one to the other."""


class NotWritten(Exception):
    """No leader took the write in time; it was not and will not be written."""


class Unreachable(Exception):
    """Whoever was asked did not answer, or did not want to; nothing was changed."""


class _NoLeader(Exception):
    """No leader took the request in time; it had no effect."""


class RequestRefused(Exception):
    """The node understood the request and said no, for good."""


class Client:
    """One client, for one thread. `timeout` is how long a call may look for an answer, in seconds."""

    def __init__(
        self,
        addresses: Sequence[str],
        secret: bytes | Token,
        *,
        certificates: Certificates | None = None,
        cluster: str | None = None,
        name: str = "client",
        trace_dir: Path | None = None,
        timeout: float = 10.0,
    ) -> None:
        """`secret` is the cluster's, or a token. With `certificates`, the nodes are spoken to over TLS.

        `cluster` may be left out where any will do; not when the client traces.

        Clients that trace at the same time need different names: one name is one session, and its incarnations follow
        each other.
        """
        self._addresses = list(addresses)
        self._secret = secret
        self._certificates = certificates
        self._cluster = cluster
        self._name = name
        self._timeout = timeout
        self._leader: str | None = None
        self._connections: dict[str, ClientConnection] = {}
        self._operations = 0
        self._trace = ClientTrace(name, cluster, trace_dir)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and the trace."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._trace.close()

    def append(self, data: bytes, *, key: str | None = None) -> Receipt:
        """Write one journal entry; returns once it is committed.

        With a `key`, the writes of this client's name that have the same are one write (Journal.append): a try that
        nobody answers is repeated, until the timeout, and may be repeated later.

        Raises NotWritten or RequestRefused when it is certain that it was not written, OutcomeUnknown when nobody can
        say. ValueError when it is longer than MAX_DATA.
        """
        if len(data) > MAX_DATA:
            raise ValueError(f"an entry may have {MAX_DATA} bytes at most, this one has {len(data)}")
        return _receipt(self.command({"op": "append", "data": base64.b64encode(data).decode()}, idempotency=key))

    def linearizable_read(self, first: int = 1, last: int | None = None) -> Iterator[JournalEntry]:
        """The journal's entries from index `first` to `last`, none missing that was acknowledged before this call.

        They come from the leader, once a majority has confirmed that it leads. Raises Unreachable; reading again is
        always safe.
        """
        point = _point(self.query({"op": "read_point"}))
        assert self._leader is not None
        end = point.index if last is None else min(last, point.index)
        return self._entries(self._leader, first, end, at_least=end)

    def command(
        self, request: dict[str, object], *, key: str | None = None, idempotency: str | None = None
    ) -> dict[str, object]:
        """Send a request that writes one entry; returns the leader's reply, with its `receipt`.

        For systems that answer requests of their own (`Node.on_request`). `key` is what the entry writes, where that
        has a meaning, and goes into the trace; a reply with `"wrote": false` says that it did not. `idempotency` is the
        key of `append`; whoever answers the request hands it to the journal (replies.key_of). Raises as `append`.
        """
        fields = _key(key)
        if idempotency is not None:
            fields["idempotency"] = idempotency
            request = {**request, "idempotency": f"{self._name}/{idempotency}"}
        op = self._invoke("w", **fields)
        try:
            reply = self._ask_leader(request, ambiguous=True, repeatable=idempotency is not None)
        except OutcomeUnknown as error:
            self._trace.record("Unknown", op=op, error=str(error))
            raise
        except RequestRefused as error:
            self._trace.record("Fail", op=op, error=str(error))
            raise
        except _NoLeader as error:
            self._trace.record("Fail", op=op, error=str(error))
            raise NotWritten(str(error)) from error
        receipt = _receipt(reply)
        wrote = {"wrote": False} if reply.get("wrote") is False else {}
        self._trace.record("Ok", op=op, index=receipt.index, entry_term=receipt.term, ack=receipt.ack, **wrote)
        return reply

    def query(self, request: dict[str, object], *, key: str | None = None) -> dict[str, object]:
        """Send a request that reads what is committed; returns the leader's reply, with its `point`.

        `key` is what is read; the reply's `version` is the index of the entry that wrote it. Raises Unreachable.
        """
        op = self._invoke("r", kind="read", **_key(key))
        try:
            reply = self._ask_leader(request, ambiguous=False, repeatable=True)
        except (_NoLeader, RequestRefused) as error:
            self._trace.record("Fail", op=op, error=str(error))
            raise Unreachable(str(error)) from error
        point = _point(reply)
        version = {"version": reply["version"]} if key is not None and type(reply.get("version")) is int else {}
        self._trace.record("Ok", op=op, index=point.index, serve=point.serve, **version)
        return reply

    def _invoke(self, letter: str, **fields: object) -> str:
        """Begin an operation; returns its name."""
        self._operations += 1
        op = f"{letter}{self._operations}"
        self._trace.record("Invoke", op=op, **fields)
        return op

    def _ask_leader(
        self, request: dict[str, object], *, ambiguous: bool, repeatable: bool = False
    ) -> dict[str, object]:
        """The leader's reply. Raises _NoLeader, RequestRefused, and OutcomeUnknown if the request is `ambiguous`.

        It is when it matters whether a request that nobody answered was carried out. One that is `repeatable` is asked
        of another when half of the time that is left has passed without an answer.
        """
        deadline = time.monotonic() + self._timeout
        pause = PAUSE_MIN
        reason = "no address to ask"
        doubt: OutcomeUnknown | None = None
        while True:
            hinted = self._leader
            for address in self._places():
                # A node that hangs, or whose machine is gone, leaves time to ask another.
                half = max((deadline - time.monotonic()) / 2, PAUSE_MAX)
                answer = half if repeatable else self._timeout
                try:
                    reply = self._request(address, request, ambiguous=ambiguous, connect=half, answer=answer)
                except Unreachable as error:
                    reason = str(error)
                    continue
                except OutcomeUnknown as error:
                    if "idempotency" not in request:
                        raise
                    reason, doubt = str(error), error
                    continue
                match reply:
                    case {"receipt": dict()} | {"point": dict()} | {"handed_over": str()} | {"changed": int()}:
                        self._leader = address
                        return reply
                    case {"error": "unknown", "reason": str(why)}:
                        reason, doubt = why, OutcomeUnknown(why)
                        if "idempotency" not in request:
                            raise doubt
                    case {"error": "answer_too_large", "reason": str(why)} if ambiguous:
                        raise OutcomeUnknown(why)
                    case {"error": "bad_request" | "forbidden" | "refused" | "timeout" | "lost", "reason": str(why)}:
                        raise doubt or RequestRefused(why)
                    case {"error": "not_leader", "reason": str(why), "address": str(leader)} if leader != address:
                        reason = why
                        self._leader = leader
                        break
                    case {"reason": str(why)}:
                        reason = why
            if self._leader == hinted:
                self._leader = None
                if time.monotonic() + pause >= deadline:
                    break
                time.sleep(pause)
                pause = min(2 * pause, PAUSE_MAX)
            elif time.monotonic() >= deadline:
                break
        raise doubt or _NoLeader(f"no leader answered within {self._timeout:g} s; the last answer: {reason}")

    def _places(self) -> list[str]:
        """Where to ask, the most promising first."""
        if self._leader is None:
            return self._addresses
        return [self._leader, *(address for address in self._addresses if address != self._leader)]

    def status(self, address: str) -> dict[str, object]:
        """What the node at this address says of itself. Raises Unreachable, RequestRefused."""
        return self.ask(address, {"op": "status"})

    def read(self, address: str, first: int = 1, last: int | None = None) -> Iterator[JournalEntry]:
        """The committed journal entries that this node has, from index `first` to `last`.

        A node that lags behind has less than was acknowledged; see `linearizable_read`. Raises Unreachable, and
        RequestRefused when it has given the first of them up for an image: `status` says from where on it has them.
        """
        return self._entries(address, first, last, at_least=0)

    def _entries(self, address: str, first: int, last: int | None, *, at_least: int) -> Iterator[JournalEntry]:
        while last is None or first <= last:
            reply = self.ask(address, {"op": "read", "first": first, "last": (1 << 62) if last is None else last})
            following, commit = cast(int, reply["next"]), cast(int, reply["commit"])
            if commit < at_least:
                raise Unreachable(f"{address} has started again since, and is not that far yet: read again")
            for entry in cast("list[dict[str, object]]", reply["entries"]):
                yield JournalEntry(
                    cast(int, entry["index"]),
                    cast(int, entry["term"]),
                    cast(int, entry["epoch"]),
                    base64.b64decode(cast(str, entry["data"])),
                )
            if following > commit or following <= first:
                return
            first = following

    def transfer(self, to: str | None = None, *, timeout: float = 10.0, force: bool = False) -> str:
        """Have the LEADER hand its office over to another voter, and end; returns to whom it did.

        `to` None leaves the choice to the LEADER. It waits at most `timeout` seconds until the other has its whole log,
        and goes on as before if that takes longer; with `force` it does not wait. Raises RequestRefused, Unreachable,
        and OutcomeUnknown if nobody answered: its successor is not asked to hand over as well.
        """
        try:
            reply = self._ask_leader(
                {"op": "transfer", "to": to, "timeout": float(timeout), "force": force}, ambiguous=True
            )
        except _NoLeader as error:
            raise Unreachable(str(error)) from error
        return str(reply["handed_over"])

    def change(
        self, action: str, name: str, *, address: str = "", force: bool = False, timeout: float = 10.0
    ) -> dict[str, object]:
        """Have the LEADER change the group (`Action` of ha/membership.py); returns once that is committed.

        It waits at most `timeout` seconds until the change may be made. The reply names the cluster, and has its
        founders' addresses. Raises RequestRefused, Unreachable if nothing was changed, OutcomeUnknown if nobody can
        say.
        """
        asked = {"op": "member", "action": action, "name": name, "address": address, "force": force}
        try:
            return self._ask_leader({**asked, "timeout": float(timeout)}, ambiguous=True)
        except _NoLeader as error:
            raise Unreachable(str(error)) from error

    def ask(self, address: str, request: dict[str, object]) -> dict[str, object]:
        """One node's own reply to a request that changes nothing. Raises Unreachable, RequestRefused."""
        reply = self._request(address, request)
        if "error" in reply:
            raise RequestRefused(str(reply.get("reason")))
        return reply

    def image(self, address: str) -> int:
        """Have a node take an image of its journal, now; the last entry in it. Raises Unreachable."""
        return cast(int, self.ask(address, {"op": "image"})["image"])

    def fault(self, address: str, fault: dict[str, object]) -> None:
        """Cut the node off (`{"block": [names]}`) or let it come back (`{"unblock": True}`): for tests of the cluster.

        Raises RequestRefused unless the node runs with --test-faults.
        """
        self.ask(address, {"op": "fault", **fault})

    def _request(
        self,
        address: str,
        body: dict[str, object],
        *,
        ambiguous: bool = False,
        connect: float | None = None,
        answer: float | None = None,
    ) -> dict[str, object]:
        """One request and its reply. Raises Unreachable; OutcomeUnknown if `ambiguous` and it may have been read.

        It takes `connect` seconds at most to connect and `answer` for the answer (None: the client's timeout).
        """
        connect = self._timeout if connect is None else connect
        answer = self._timeout if answer is None else answer
        known = address in self._connections
        try:
            try:
                reply = self._connection(address, connect).request(body, answer)
            except ConnectionFailed:
                if not known:
                    raise
                # It was open before, and the node has hung up meanwhile; nothing was sent.
                self._forget(address)
                reply = self._connection(address, connect).request(body, answer)
        except (ConnectionFailed, HandshakeRefused) as error:
            self._forget(address)
            raise Unreachable(str(error)) from error
        except RequestUnanswered as error:
            self._forget(address)
            if not ambiguous:
                raise Unreachable(str(error)) from error
            raise OutcomeUnknown(str(error)) from error
        match reply.get("ref"):
            case [str(node), str(inc), int(seq)]:
                self._trace.heard(Ref(node, inc, seq))
        return reply

    def _connection(self, address: str, timeout: float) -> ClientConnection:
        """The connection to an address, opened if there is none. Raises ConnectionFailed, HandshakeRefused."""
        connection = self._connections.get(address)
        if connection is None:
            connection = self._connections[address] = ClientConnection(
                parse_address(address),
                cluster=self._cluster,
                secret=self._secret,
                name=self._name,
                inc=self._trace.inc,
                timeout=timeout,
                certificates=self._certificates,
            )
        return connection

    def _forget(self, address: str) -> None:
        if self._leader == address:
            self._leader = None
        connection = self._connections.pop(address, None)
        if connection is not None:
            connection.close()


def _key(key: str | None) -> dict[str, object]:
    return {} if key is None else {"key": key}


def _receipt(reply: dict[str, object]) -> Receipt:
    fields = cast("dict[str, object]", reply["receipt"])
    place = cast(int, fields["index"]), cast(int, fields["term"]), cast(int, fields["epoch"])
    return Receipt(*place, _ref(fields["ack"]))


def _point(reply: dict[str, object]) -> ReadPoint:
    fields = cast("dict[str, object]", reply["point"])
    return ReadPoint(cast(int, fields["index"]), _ref(fields["serve"]))


def _ref(value: object) -> Ref:
    node, inc, seq = cast("list[object]", value)
    return Ref(cast(str, node), cast(str, inc), cast(int, seq))
