"""What clients ask of a node: parsed, counted, and with the right that the client has."""

from __future__ import annotations

from dataclasses import dataclass

from hacoord.net.connection import Connection
from hacoord.net.frames import FrameError, decode_json, encode_json
from hacoord.net.rights import Right
from hacoord.net.tokens import TokensFile


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """What an authenticated client asks; answer once, with `Transport.reply`. `connection` and `number` say where to.

    `token` is the name of its token, None if it has the cluster's secret.
    """

    connection: int
    number: int
    client: str
    inc: str
    body: dict[str, object]
    right: Right = Right.ADMIN
    token: str | None = None


class Clients:
    """The clients that are connected, and how many requests of each are unanswered: at most `requests`.

    An answer has at most `max_frame` bytes.
    """

    def __init__(self, tokens: TokensFile | None, requests: int, max_frame: int) -> None:
        self._connections: dict[int, Connection] = {}
        self._unanswered: dict[int, int] = {}
        self._newest: dict[int, int] = {}  # the number of the last request read
        self._tokens = tokens
        self._most = requests
        self._max_frame = max_frame

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: Connection) -> None:
        """A client has authenticated."""
        self._connections[connection.serial] = connection
        self._unanswered[connection.serial] = 0
        self._newest[connection.serial] = 0

    def remove(self, connection: Connection) -> None:
        """A connection is closed, of a client or not."""
        self._connections.pop(connection.serial, None)
        self._unanswered.pop(connection.serial, None)
        self._newest.pop(connection.serial, None)

    def asked(self, connection: Connection, body: bytes) -> ClientRequest | None:
        """What a client asks. None if that is one too many at a time: the answer is queued. Raises FrameError."""
        peer = connection.peer
        assert peer is not None
        number, request = _parse(body)
        asked = ClientRequest(
            connection.serial, number, peer.name, peer.inc, request, self._right(connection), peer.token
        )
        self._unanswered[connection.serial] += 1
        self._newest[connection.serial] = number
        if self._unanswered[connection.serial] <= self._most:
            return asked
        reason = f"{self._most} requests of this client are unanswered: wait for some of the answers"
        self.answer(asked, {"error": "overloaded", "reason": reason})
        return None

    def answer(self, request: ClientRequest, body: dict[str, object]) -> Connection | None:
        """Queue an answer; returns where. A client that has gone is no error."""
        connection = self._connections.get(request.connection)
        if connection is None:
            return None
        self._unanswered[request.connection] -= 1
        data = encode_json([request.number, body])
        if len(data) > self._max_frame:
            error = {"error": "answer_too_large", "reason": f"the answer has {len(data)} bytes: ask for less"}
            data = encode_json([request.number, error])
        connection.queue(data)
        return connection

    def farewell(self) -> list[Connection]:
        """Queue, as answer 0, that nothing after the last request read will be: what was sent since has no effect."""
        for serial, connection in self._connections.items():
            connection.queue(encode_json([0, {"closing": self._newest[serial]}]))
        return list(self._connections.values())

    def _right(self, connection: Connection) -> Right:
        """What the client may do now: its token may have been removed since it connected."""
        token = connection.handshake.token
        if token is None:
            return Right.ADMIN
        known = self._tokens.find(token.name) if self._tokens is not None else None
        return known.right if known is not None and known.hash == token.hash else Right.NONE


def _parse(body: bytes) -> tuple[int, dict[str, object]]:
    value = decode_json(body)
    if not isinstance(value, list) or len(value) != 2:
        raise FrameError("not a request")
    number, request = value
    if type(number) is not int or not isinstance(request, dict):
        raise FrameError("not a request")
    return number, request
