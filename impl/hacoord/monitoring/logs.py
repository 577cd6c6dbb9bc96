"""Log lines that a program can take apart: an event, what it is about, and when, as words or as JSON.

`say` logs an event with its fields. `log.format` says how lines are written; one from elsewhere, which has no fields,
has a message.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

_PLAIN = re.compile(r"[^\s\"'=]+")


def say(log: logging.Logger, event: str, fields: Mapping[str, object], level: int = logging.INFO) -> None:
    """Log that something has happened; fields that are None are left out."""
    known = {key: value for key, value in fields.items() if value is not None}
    log.log(level, "%s %s", event, _words(known), extra={"event": event, "fields": known})


def set_up(format: str) -> None:
    """Log to standard error from now on, as "text" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if format == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class Json(logging.Formatter):
    """One JSON object for each line: `ts`, `level`, `logger`, `event` or `message`, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        ts = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, object] = {"ts": ts, "level": record.levelname, "logger": record.name}
        if hasattr(record, "fields"):
            line |= {"event": record.__dict__["event"], **record.__dict__["fields"]}
        else:
            line["message"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _words(fields: dict[str, object]) -> str:
    return " ".join(f"{key}={_word(value)}" for key, value in fields.items())


def _word(value: object) -> str:
    text = f"{value:.6f}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
