"""A few pages over HTTP/1.1 for those who watch a node: GET and HEAD only, one request for each connection.

It runs in the node's loop: a selector of its own, whose descriptor the loop watches, so it needs no thread and costs
nothing while nobody asks. What strangers can hold is bounded: the length of a request, the number of connections, and
the time each may take.
"""

from __future__ import annotations

import contextlib
import logging
import re
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import urlsplit

from hacoord.net.port import Port
from hacoord.settings import Address

MAX_HEAD = 8192
"""Bytes of a request's line and headers."""
MAX_CONNECTIONS = 32
TIME = 5.0
"""Seconds a connection may last."""
PAGES_A_TURN = 4
"""So that many who ask at a time don't hold up the node's loop."""

_REQUEST = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e]+) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t\x20-\x7e\x80-\xff]*")
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered."""

    status: HTTPStatus
    content_type: str
    body: bytes
    allow: str = ""


@dataclass(slots=True)
class _Guest:
    """One connection: what has come, what is still to be sent, and when it is given up."""

    sock: socket.socket
    deadline: float
    head: bytearray = field(default_factory=bytearray)
    unsent: bytes = b""
    answered: bool = False


class HttpServer:
    """Serves `pages`, path to the function that makes the page. Not thread-safe; `clock` is monotonic, in seconds."""

    def __init__(self, address: Address, clock: Callable[[], float] = time.monotonic) -> None:
        """Open the port. Raises TransportError if it is in use, not ours, or reachable from other machines."""
        self.pages: dict[str, Callable[[], Page]] = {}
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._port = Port(address, self._selector, encrypted=False)
        self._guests: dict[int, _Guest] = {}  # oldest first

    @property
    def address(self) -> Address:
        """Where this listens: (host, port)."""
        return self._port.address

    def fileno(self) -> int:
        """The descriptor to watch: readable when `poll` has something to do."""
        return self._selector.fileno()

    def deadline(self) -> float:
        """When, by the clock, `poll` has something to do though nothing has happened; inf for never."""
        return min([self._port.resumes_at, *(guest.deadline for guest in self._guests.values())])

    def poll(self) -> None:
        """Take in what has arrived, answer what is complete, and give up what takes too long. Never waits."""
        now = self._clock()
        for late in [guest for guest in self._guests.values() if guest.deadline <= now]:
            self._drop(late)
        self._port.on_time(now)
        made = 0
        for key, events in self._selector.select(0):
            if key.data is self._port:
                self._accept(now)
            elif (guest := self._guests.get(key.fd)) is not None and guest is key.data:
                waiting = not guest.answered
                self._serve(guest, events)
                made += waiting and guest.answered
            if made == PAGES_A_TURN:
                return  # what is left can still be read in the next turn

    def close(self) -> None:
        """Close the port and all connections."""
        for guest in list(self._guests.values()):
            self._drop(guest)
        self._port.close()
        self._selector.close()

    def _accept(self, now: float) -> None:
        for sock, _ in self._port.accept(1, self._clock):
            sock.setblocking(False)
            guest = self._guests[sock.fileno()] = _Guest(sock, now + TIME)
            self._selector.register(sock, _READ, guest)
            if len(self._guests) > MAX_CONNECTIONS:
                # The oldest, not the newest: those who never finish must not keep the others out.
                self._drop(next(iter(self._guests.values())))

    def _serve(self, guest: _Guest, events: int) -> None:
        try:
            if events & _READ:
                data = guest.sock.recv(MAX_HEAD)
                if not data:
                    self._drop(guest)
                    return
                if not guest.answered:  # what comes after an answer is read and forgotten, so that closing is no reset
                    self._take(guest, data)
            if guest.unsent:
                guest.unsent = guest.unsent[guest.sock.send(guest.unsent) :]
                if guest.unsent:
                    self._selector.modify(guest.sock, _READ | _WRITE, guest)
                else:
                    guest.sock.shutdown(socket.SHUT_WR)
                    self._selector.modify(guest.sock, _READ, guest)
        except BlockingIOError:
            self._selector.modify(guest.sock, _READ | _WRITE, guest)
        except OSError:
            self._drop(guest)

    def _take(self, guest: _Guest, data: bytes) -> None:
        guest.head += data
        head, end, _ = bytes(guest.head).partition(b"\r\n\r\n")
        if len(head) > MAX_HEAD:
            page, sent_whole = _error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), True
        elif not end:
            return
        else:
            page, sent_whole = self._answer(head)
        guest.answered = True
        guest.unsent = _encode(page, with_body=sent_whole)

    def _answer(self, head: bytes) -> tuple[Page, bool]:
        """The page, and whether its body is wanted."""
        first, *headers = head.split(b"\r\n")
        request = _REQUEST.fullmatch(first)
        matches = [_HEADER.fullmatch(line) for line in headers]
        hosts = sum(match is not None and match[1].lower() == b"host" for match in matches)
        if request is None or None in matches or hosts > 1 or (request[3] == b"1" and not hosts):
            return _error(HTTPStatus.BAD_REQUEST), True
        method = request[1]
        if method not in (b"GET", b"HEAD"):
            return _error(HTTPStatus.METHOD_NOT_ALLOWED, allow="GET, HEAD"), True
        return self._page(request[2].decode("ascii")), method == b"GET"

    def _page(self, target: str) -> Page:
        try:
            make = self.pages.get(urlsplit(target).path)
        except ValueError:
            return _error(HTTPStatus.BAD_REQUEST)
        if make is None:
            return _error(HTTPStatus.NOT_FOUND, f"; there are {', '.join(self.pages)}")
        try:
            return make()
        except Exception:  # a page that can't be made must not end the node
            log.exception("cannot make the page %s", target)
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _drop(self, guest: _Guest) -> None:
        del self._guests[guest.sock.fileno()]
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(guest.sock)
        guest.sock.close()


def _error(status: HTTPStatus, more: str = "", allow: str = "") -> Page:
    return Page(status, "text/plain; charset=utf-8", f"{status.phrase}{more}\n".encode(), allow)


def _encode(page: Page, with_body: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {page.status.value} {page.status.phrase}",
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Type: {page.content_type}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if page.allow:
        lines.append(f"Allow: {page.allow}")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (page.body if with_body else b"")
