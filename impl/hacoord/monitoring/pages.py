"""What a node answers over HTTP: /metrics, /health, /status (docs/monitoring.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus

from hacoord.monitoring.metrics import CONTENT_TYPE
from hacoord.monitoring.monitor import Monitor
from hacoord.net.http import Page

JSON = "application/json"


def pages(monitor: Monitor) -> dict[str, Callable[[], Page]]:
    """Path to the function that makes its page."""

    def metrics() -> Page:
        return Page(HTTPStatus.OK, CONTENT_TYPE, monitor.registry.render().encode())

    def health() -> Page:
        healthy, reason = monitor.health()
        code = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
        return Page(code, JSON, _body({"healthy": healthy, "reason": reason}))

    def status() -> Page:
        return Page(HTTPStatus.OK, JSON, _body(monitor.status()))

    return {"/metrics": metrics, "/health": health, "/status": status}


def _body(value: dict[str, object]) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"
