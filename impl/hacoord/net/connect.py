"""A client's connection to one node: blocking, one request at a time. For command lines and embedding programs."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import Literal, Self

from hacoord.net.frames import MAX_FRAME, FrameError, FrameReader, TransportError, decode_json, encode_json, frame
from hacoord.net.handshake import LIMIT, Dialer, HandshakeRefused, Hello
from hacoord.net.tls import Certificates, TlsEnd
from hacoord.net.tokens import Token

_CHUNK = 64 * 1024


class ConnectionFailed(TransportError):
    """The node could not be reached, and the request was not sent: trying again, or elsewhere, is harmless."""


class RequestUnanswered(TransportError):
    """The request may have been sent and no answer came: it may or may not have been carried out."""


class ClientConnection:
    """Connects and proves the secret, or a token, at once; with `certificates`, over TLS.

    `timeout` is in seconds, for connecting and for each request. With `cluster` None any cluster will do: only for
    asking a node who it is. With `disk` this is a node, which asks whether it would be let in. `peer` is the node
    reached. Raises ConnectionFailed, or HandshakeRefused with the reason.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        cluster: str | None,
        secret: bytes | Token,
        name: str,
        inc: str,
        timeout: float = 5.0,
        certificates: Certificates | None = None,
        disk: str | None = None,
    ) -> None:
        self._tls = certificates.dial() if certificates is not None else None
        self._address = f"{address[0]}:{address[1]}"
        self._timeout = timeout
        self._reader = FrameReader()
        self._number = 0
        deadline = time.monotonic() + timeout
        try:
            self._socket = socket.create_connection(address, timeout)
        except (OSError, ValueError) as error:  # ValueError: a host that no name server could be asked for
            raise ConnectionFailed(f"cannot reach {self._address}: {error}") from error
        self._open = True
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            role: Literal["node", "client"] = "client" if disk is None else "node"
            dialer = Dialer(Hello(cluster, name, inc, role, disk=disk), secret)
            self._send(dialer.hello)
            while dialer.peer is None:
                reply = dialer.receive(self._next(LIMIT, deadline))
                if reply:
                    self._send(reply)
            self.peer: Hello = dialer.peer
            if self._tls is not None and (why := self._tls.mismatch(self.peer.name)):
                raise HandshakeRefused(why)
        except HandshakeRefused as refused:
            self.close()
            raise HandshakeRefused(f"{self._address}: {refused.reason}", removed=refused.removed) from None
        except FrameError as error:
            self.close()
            raise ConnectionFailed(f"{self._address} is not a hacoord node: {error}") from error
        except OSError as error:
            self.close()
            raise ConnectionFailed(f"{self._address} did not finish the handshake: {error}") from error

    def request(self, body: dict[str, object], timeout: float | None = None) -> dict[str, object]:
        """Send a request and wait for its answer, at most `timeout` seconds (None: as long as for connecting).

        Raises ConnectionFailed if nothing was sent, RequestUnanswered if no answer came (the connection is closed
        then), FrameError if the request is too large.
        """
        self._number += 1
        data = encode_json([self._number, body])
        if len(data) > MAX_FRAME:
            raise FrameError(f"a request of {len(data)} bytes where at most {MAX_FRAME} are allowed: make it smaller")
        self._refuse_if_gone()
        timeout = self._timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        try:
            self._socket.settimeout(timeout)
            self._send(data)
            answer = decode_json(self._next(MAX_FRAME, deadline))
            match answer:
                case [0, {"closing": int(newest)}]:
                    self.close()
                    if newest < self._number:
                        reason = f"{self._address} is ending, and has not read the request: try another node"
                        raise ConnectionFailed(reason)
                    raise RequestUnanswered(f"{self._address} has ended and had not answered yet")
        except (OSError, FrameError, HandshakeRefused) as error:
            self.close()
            raise RequestUnanswered(f"no answer from {self._address}: {error}") from error
        match answer:
            case [number, dict() as reply] if number == self._number:
                return reply
        self.close()
        raise RequestUnanswered(f"{self._address} answered something else")

    def close(self) -> None:
        """May be called twice."""
        self._open = False
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refuse_if_gone(self) -> None:
        """A node that hung up meanwhile is noticed before anything is sent, which keeps the outcome unambiguous."""
        if self._open:
            arrived = select.poll()  # select(2) takes no descriptor from 1024 on
            arrived.register(self._socket, select.POLLIN)
            if arrived.poll(0):
                # Nothing is due here: either the end of the stream, or an answer to nothing.
                self.close()
        if not self._open:
            raise ConnectionFailed(f"the connection to {self._address} is closed: connect again")

    def _send(self, body: bytes) -> None:
        if self._tls is None:
            self._socket.sendall(frame(body))
        else:
            self._tls.send(frame(body))
            self._socket.sendall(self._tls.outgoing())

    def _next(self, limit: int, deadline: float) -> bytes:
        while (body := self._reader.next(limit)) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._socket.settimeout(left)
            data = self._socket.recv(_CHUNK)
            if not data:
                raise ConnectionResetError("it closed the connection")
            self._reader.feed(data if self._tls is None else self._decrypted(self._tls, data))
        return body

    def _decrypted(self, tls: TlsEnd, data: bytes) -> bytes:
        try:
            return tls.receive(data)
        finally:  # also what tells the other end that it is refused
            with contextlib.suppress(OSError):
                self._socket.sendall(tls.outgoing())
