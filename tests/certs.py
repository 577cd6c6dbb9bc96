"""The certificates of tests/tls, as files that a node takes: for tests only."""

from __future__ import annotations

import shutil
from pathlib import Path

import hacoord.net.tls
from hacoord.config import Tls
from hacoord.net.tls import Certificates

SOURCE = Path(__file__).parent / "tls"


def tls(directory: Path, name: str) -> Tls:
    """The certificate of this name, with the key in a file for its owner only, which a checkout does not give."""
    key = directory / "key.pem"
    if not key.exists():
        key.touch(mode=0o600)
        shutil.copyfile(SOURCE / "key.pem", key)
    return Tls(SOURCE / f"{name}.pem", key, SOURCE / "ca.pem")


def certificates(directory: Path, name: str) -> Certificates:
    """Those files, opened."""
    found = hacoord.net.tls.certificates(tls(directory, name))
    assert found is not None
    return found
