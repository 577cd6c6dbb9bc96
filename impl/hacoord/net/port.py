"""A port on which a node is connected to: its own, and the one for HTTP."""

from __future__ import annotations

import errno
import ipaddress
import logging
import selectors
import socket
from collections.abc import Callable, Iterator
from math import inf

from hacoord.config import Address
from hacoord.net.frames import TransportError

PAUSE = 1.0
"""Seconds without accepting, when out of descriptors."""

log = logging.getLogger("hacoord.net.transport")


class Port:
    """A listening socket, registered with the selector until `close`; not while out of descriptors.

    Raises TransportError if the port is in use, not ours, or not `encrypted` and reachable from other machines.
    """

    def __init__(self, address: Address, selector: selectors.BaseSelector, *, encrypted: bool) -> None:
        self._socket = _open(address, encrypted=encrypted)
        self._selector = selector
        selector.register(self._socket, selectors.EVENT_READ, self)
        self.resumes_at = inf
        """When accepting goes on, by the clock of `accept`; inf while it does."""

    @property
    def address(self) -> Address:
        """Host and port."""
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def accept(self, most: int, clock: Callable[[], float]) -> Iterator[tuple[socket.socket, str]]:
        """At most so many of those who want to connect, each with the address it comes from."""
        for _ in range(most):
            try:
                sock, address = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:  # out of descriptors: the backlog keeps until some are free again
                log.error("cannot accept connections to %s:%d: %s; raise the limit on open files", *self.address, error)
                self.resumes_at = clock() + PAUSE
                self._selector.unregister(self._socket)
                return
            yield sock, f"{address[0]}:{address[1]}"

    def on_time(self, now: float) -> None:
        """Go on accepting, if it is time."""
        if self.resumes_at <= now:
            self.resumes_at = inf
            self._selector.register(self._socket, selectors.EVENT_READ, self)

    def close(self) -> None:
        """May be called twice."""
        self._socket.close()


def _open(address: Address, *, encrypted: bool) -> socket.socket:
    """A listening socket. Raises TransportError as `Port` does."""
    host, port = address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = found[4]
        if not encrypted and not ipaddress.ip_address(bound[0]).is_loopback:
            raise TransportError(
                f"{host} can be reached from other machines, and what is sent is not encrypted: listen on 127.0.0.1; "
                "on a node's own port there may be TLS instead (tls.cert, tls.key, tls.ca)"
            )
        listener = socket.socket(found[0], found[1])
    except (OSError, ValueError) as error:
        raise TransportError(f"cannot listen on {host}:{port}: {error}; correct the address") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(bound)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} on {host} is in use: stop what listens there, or choose another port"
            raise TransportError(reason) from error
        raise TransportError(f"cannot listen on {host}:{port}: {error}; correct the address") from error
    return listener
