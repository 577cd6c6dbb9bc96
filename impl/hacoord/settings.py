"""What a setting may be: the kinds of values a key of the configuration takes, and the checks that go with them.

A key is one line in a frozen dataclass of config.py: its default, its bounds, its unit and what it is for. Reading it,
refusing a bad value, `hacoord config show` and the page docs/configuration.md all follow from that line.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Address = tuple[str, int]
"""Host and port."""


class ConfigError(Exception):
    """The configuration can't be used; the text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: `read` turns a value of the TOML file into one of the configuration, or raises ValueError.

    `wanted` says what is taken, `unset` what is done when there is neither a value nor a default; `show` is the inverse
    of `read`, as TOML.
    """

    default: object
    read: Callable[[object, Path], object]
    show: Callable[[Any], str]
    wanted: str
    unit: str
    meaning: str
    unset: str = ""


# The functions that declare a key return what dataclasses want to see: a default with the setting as its metadata.
# Their type is Any because a field's type is that of its value.


def number(default: float, low: float, high: float, unit: str, meaning: str) -> Any:
    """A number from `low` to `high`, whole if the default is an int.

    The bounds are those within which the thing works at all, not those within which it is wise.
    """
    kind = type(default)

    def read(value: object, _: Path) -> object:
        # bool is an int to Python, but "heartbeat = true" is a mistake; NaN fails the comparison.
        allowed = (int, float) if kind is float else (int,)
        if isinstance(value, bool) or not isinstance(value, allowed) or not low <= value <= high:
            raise ValueError
        return kind(value)

    what = "a number" if kind is float else "a whole number"
    wanted = f"{what} from {low:.10g} to {high:.10g} ({unit})"
    return _field(Setting(default, read, lambda value: f"{value}", wanted, unit, meaning))


def flag(default: bool, meaning: str) -> Any:
    """True or false."""

    def read(value: object, _: Path) -> object:
        return _only(bool, value)

    return _field(Setting(default, read, lambda value: str(value).lower(), "true or false", "", meaning))


def choice(default: str, others: tuple[str, ...], meaning: str) -> Any:
    """One of a few words."""
    words = (default, *others)

    def read(value: object, _: Path) -> object:
        if value not in words:
            raise ValueError
        return value

    wanted = "one of " + ", ".join(f'"{word}"' for word in words)
    return _field(Setting(default, read, json.dumps, wanted, "", meaning))


def path(what: str, meaning: str, unset: str = "none") -> Any:
    """The path of a file or directory; a relative one is taken from the directory of the configuration."""

    def read(value: object, base: Path) -> object:
        text = _text(value)
        if "\0" in text:
            raise ValueError
        try:
            return base / Path(text).expanduser()
        except RuntimeError as error:  # ~nobody
            raise ValueError(str(error)) from error

    return _field(Setting(None, read, lambda value: json.dumps(str(value)), f"the path of {what}", "", meaning, unset))


def address(meaning: str, unset: str = "none") -> Any:
    """A host and a port to listen on."""

    def read(value: object, _: Path) -> object:
        try:
            return parse_address(_text(value))
        except ConfigError as error:
            raise ValueError(str(error)) from error

    def show(value: Address) -> str:
        host = f"[{value[0]}]" if ":" in value[0] else value[0]
        return json.dumps(f"{host}:{value[1]}")

    wanted = 'an address such as "127.0.0.1:7001"'
    return _field(Setting(None, read, show, wanted, "", meaning, unset))


def settings(table: type) -> dict[str, Setting]:
    """The keys of a configuration, `table.key` for those of its tables, in the order of their declaration."""
    found: dict[str, Setting] = {}
    for field in dataclasses.fields(table):
        if "setting" in field.metadata:
            found[field.name] = field.metadata["setting"]
        else:
            found |= {f"{field.name}.{name}": setting for name, setting in settings(type(field.default)).items()}
    return found


def refusal(key: str, value: object, setting: Setting, error: ValueError) -> ConfigError:
    """What to raise when `setting.read` raised."""
    try:
        shown = repr(value)
    except ValueError:  # Python shows no number of so many digits
        shown = "a very long number"
    return ConfigError(f"{key} = {shown}: " + (str(error) or f"{setting.wanted} is wanted"))


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a node or a cluster may be called: files have such names."""


def parse_address(text: str) -> Address:
    """The host and port in "host:port"; an IPv6 host stands in brackets. ConfigError for anything else."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host.startswith("[") and host.endswith("]")
    well_formed = colon and bare and not any(c.isspace() or c == "/" for c in host) and (":" not in bare or bracketed)
    if not well_formed or not (port.isascii() and port.isdigit() and len(port) < 10 and 1 <= int(port) <= 65535):
        raise ConfigError(f"{text!r} is no address; host:port is wanted, with a port from 1 to 65535")
    return bare, int(port)


def _field(setting: Setting) -> Any:
    return dataclasses.field(default=setting.default, metadata={"setting": setting})


def _only(kind: type, value: object) -> object:
    if not isinstance(value, kind):
        raise ValueError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value
