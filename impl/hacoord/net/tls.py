"""TLS at one end of a connection, in memory: bytes of the wire in, bytes of the wire out. No socket, no clock.

Both ends show a certificate of the same authority. A node's name is among the DNS names (subjectAltName) of its
certificate, so that no certificate speaks for another node; the subject's CN counts for nothing. TLS 1.2 is the least.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hacoord.config import ConfigError, Tls, check_private
from hacoord.net.handshake import HandshakeRefused

_CHUNK = 64 * 1024


class Certificates:
    """What one process shows and accepts: its certificate and key, and the authority of all the others, in PEM.

    Raises ConfigError when the files cannot be used.
    """

    def __init__(self, cert: Path, key: Path, ca: Path) -> None:
        check_private(key, "the key")
        self._dialling = _context(ssl.PROTOCOL_TLS_CLIENT, cert, key, ca)
        self._listening = _context(ssl.PROTOCOL_TLS_SERVER, cert, key, ca)
        self._listening.num_tickets = 0  # nobody resumes, and a client takes unasked-for bytes for the end

    def dial(self) -> TlsEnd:
        """The end of the one who connects."""
        return TlsEnd(self._dialling, listens=False)

    def accept(self) -> TlsEnd:
        """The end of the one who is connected to."""
        return TlsEnd(self._listening, listens=True)

    def check(self, node: str) -> None:
        """Raises ConfigError if others would not take the certificate for this node's: it is tried on itself."""
        one, other = self.dial(), self.accept()
        try:
            one.send(b"")
            while not (one.established and other.established):
                other.receive(one.outgoing())
                one.receive(other.outgoing())
        except HandshakeRefused as refused:
            raise ConfigError(f"tls.cert can't be used: {refused.reason}") from refused
        if why := one.mismatch(node):
            raise ConfigError(f"tls.cert can't be used: {why}")


class TlsEnd:
    """One end of one connection. `names` are the DNS names in the other's certificate, once that is verified.

    Every method raises HandshakeRefused when the two ends cannot agree; `outgoing` may then still hold what tells the
    other end.
    """

    __slots__ = ("_arrived", "_due", "_object", "_waiting", "established", "names")

    def __init__(self, context: ssl.SSLContext, *, listens: bool) -> None:
        self._arrived, self._due = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._arrived, self._due, server_side=listens)
        self._waiting = bytearray()  # until the two have agreed
        self.established = False
        self.names: frozenset[str] = frozenset()

    def send(self, data: bytes) -> None:
        """Encrypt this, or keep it until that is possible."""
        self._waiting += data
        with _refusals():
            self._advance()

    def receive(self, data: bytes) -> bytes:
        """What has arrived, decrypted. Raises ConnectionResetError when the other end says that it has finished."""
        self._arrived.write(data)
        parts: list[bytes] = []
        with _refusals():
            self._advance()
            while self.established:
                try:
                    parts.append(self._object.read(_CHUNK))
                except ssl.SSLWantReadError:
                    break
                except ssl.SSLZeroReturnError as error:
                    raise ConnectionResetError("closed by the other end") from error
        return b"".join(parts)

    def outgoing(self) -> bytes:
        """What is to go on the wire now."""
        return self._due.read()

    def mismatch(self, node: str) -> str | None:
        """Why the other end's certificate is not that of this node, None if it is."""
        if node in self.names:
            return None
        names = ", ".join(sorted(self.names)) or "nobody"
        return f"its certificate is for {names}, not for node {node}: issue one whose subjectAltName has DNS:{node}"

    def _advance(self) -> None:
        if not self.established:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                return
            self.established = True
            certificate = self._object.getpeercert() or {}
            self.names = frozenset(
                str(entry[1]) for entry in certificate.get("subjectAltName", ()) if entry[0] == "DNS"
            )
        waiting, self._waiting = bytes(self._waiting), bytearray()
        with memoryview(waiting) as view:
            at = 0
            while at < len(view):
                at += self._object.write(view[at:])


@contextmanager
def _refusals() -> Iterator[None]:
    """Say in words what OpenSSL reports."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        reason = f"its certificate is not accepted: {error.verify_message}; check it, and tls.ca"
        raise HandshakeRefused(reason) from error
    except ssl.SSLError as error:
        said = (error.reason or str(error)).replace("_", " ").lower()
        if "alert" in said:
            raise HandshakeRefused(f"it does not accept our TLS or our certificate: {said}") from error
        raise HandshakeRefused(f"it speaks no TLS that this end does: {said}") from error


def certificates(files: Tls) -> Certificates | None:
    """The certificates that are configured, None if there is to be no TLS. Raises ConfigError."""
    if files.cert is None or files.key is None or files.ca is None:
        return None
    return Certificates(files.cert, files.key, files.ca)


def _context(protocol: int, cert: Path, key: Path, ca: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # it is the node's name that counts, not where it listens
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    with _unusable(f"the authority's certificate {ca}"):
        context.load_verify_locations(ca)
    with _unusable(f"the certificate {cert} with the key {key}"):
        context.load_cert_chain(cert, key, password=_no_password)
    return context


@contextmanager
def _unusable(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"can't use {what}: {reason}; PEM is wanted") from error


def _no_password() -> str:
    raise ValueError("the key is encrypted, and nobody is there to type the password")
