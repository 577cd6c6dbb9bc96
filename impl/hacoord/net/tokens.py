"""Tokens: what a client proves itself with, if it is not to know the cluster's secret. Each has a name and a right.

The nodes keep a file of verifiers, one line each:

    NAME RIGHT VERIFIER SERVER

VERIFIER is the hash of a key that only the token's owner can compute, SERVER what the node proves itself with in turn
(RFC 5802's StoredKey and ServerKey; a token is 32 random bytes, so there is no password to stretch). Who reads the
file cannot pose as a client, unless that client can be brought to connect to him in a node's place, which TLS prevents.
Running nodes notice when the file changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from hacoord.config import ConfigError, read_private
from hacoord.net.frames import is_name
from hacoord.net.rights import Right

KEY_SIZE = 32

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Token:
    """A client's token. Its text is `NAME:` and the key in hexadecimal."""

    name: str
    key: bytes = field(repr=False)

    @property
    def client_key(self) -> bytes:
        """What only the owner of the token can compute."""
        return hmac.digest(self.key, b"hacoord token client", "sha256")

    @property
    def server_key(self) -> bytes:
        """What the owner and the nodes know."""
        return hmac.digest(self.key, b"hacoord token server", "sha256")

    def __str__(self) -> str:
        return f"{self.name}:{self.key.hex()}"


@dataclass(frozen=True, slots=True)
class Verifier:
    """What a node knows of a token: enough to recognise its owner, too little to pose as it."""

    name: str
    right: Right
    hash: bytes
    server_key: bytes = field(repr=False)

    def recognises(self, client_key: bytes) -> bool:
        """Whether this key is that of the token's owner."""
        return hmac.compare_digest(hashlib.sha256(client_key).digest(), self.hash)


def verifier(token: Token, right: Right) -> Verifier:
    """What the nodes are to know of this token."""
    return Verifier(token.name, right, hashlib.sha256(token.client_key).digest(), token.server_key)


def read_token(path: Path) -> Token:
    """The token in a file of its own, for its owner only. Raises ConfigError."""
    text = read_private(path, "the token file").decode(errors="replace").strip()
    name, _, key = text.rpartition(":")
    try:
        token = Token(name, bytes.fromhex(key))
    except ValueError:
        token = Token("", b"")
    if not is_name(token.name) or len(token.key) != KEY_SIZE:
        raise ConfigError(f"{path} holds no token: one line as `hacoord token new` prints it is wanted")
    return token


class TokensFile:
    """The tokens that a node accepts. Raises ConfigError, when made and when changed, for a file that can't be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._look()
        self._verifiers = self._read()
        self._problem = ""

    def find(self, name: str) -> Verifier | None:
        """What is known of the token of this name now; nothing of any while the file can't be used."""
        stamp = self._look()
        if stamp != self._stamp or self._problem:  # that need not be the file's: this process has too many open, say
            self._stamp = stamp
            try:
                self._verifiers = self._read()
                self._problem = ""
                log.info("read %s again: %d tokens", self._path, len(self._verifiers))
            except ConfigError as error:
                self._verifiers = {}
                if str(error) != self._problem:
                    self._problem = str(error)
                    log.error("no token is accepted any more: %s", error)
        return self._verifiers.get(name)

    def all(self) -> list[Verifier]:
        """All tokens, by name."""
        return sorted(self._verifiers.values(), key=lambda known: known.name)

    def new(self, name: str, right: Right) -> Token:
        """Make a token and accept it from now on."""
        if not is_name(name) or any(c.isspace() for c in name):
            raise ConfigError(f"{name!r} can't name a token: 1 to 64 printable ASCII characters without spaces")
        if name in self._verifiers:
            raise ConfigError(f"there is a token {name} already: remove it first, or choose another name")
        token = Token(name, secrets.token_bytes(KEY_SIZE))
        self._write({**self._verifiers, name: verifier(token, right)})
        return token

    def remove(self, name: str) -> None:
        """Accept a token no more."""
        if name not in self._verifiers:
            raise ConfigError(f"there is no token {name} in {self._path}: `hacoord token list` shows those there are")
        self._write({known.name: known for known in self._verifiers.values() if known.name != name})

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_mode

    def _read(self) -> dict[str, Verifier]:
        verifiers: dict[str, Verifier] = {}
        text = read_private(self._path, "the tokens file").decode(errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                name, right, hashed, server = line.split()
                known = Verifier(name, _RIGHTS[right], bytes.fromhex(hashed), bytes.fromhex(server))
                if not is_name(name) or (len(known.hash), len(known.server_key)) != (32, 32) or name in verifiers:
                    raise ValueError
            except (ValueError, KeyError):
                raise ConfigError(f"{self._path}:{number}: NAME RIGHT VERIFIER SERVER is wanted, once a name") from None
            verifiers[name] = known
        return verifiers

    def _write(self, verifiers: dict[str, Verifier]) -> None:
        text = "".join(f"{v.name} {v.right} {v.hash.hex()} {v.server_key.hex()}\n" for v in verifiers.values())
        write_private(self._path, text, replace=True)
        self._verifiers = verifiers
        self._stamp = self._look()


_RIGHTS = {str(right): right for right in Right if right is not Right.NONE}


def open_tokens(path: Path) -> TokensFile:
    """The tokens file at this path, made if it is missing."""
    if not path.exists():
        write_private(path, "", replace=False)
    return TokensFile(path)


def write_private(path: Path, text: str, *, replace: bool) -> None:
    """Write a file for its owner only, whole or not at all. Raises ConfigError; also if it may not `replace` one."""
    new = path.with_name(path.name + ".new") if replace else path
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(new, path)
    except FileExistsError as error:
        raise ConfigError(f"{new} is there already: remove it, unless another command is writing it") from error
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise ConfigError(f"can't write {path}: {error.strerror}; correct the path or make room") from error
