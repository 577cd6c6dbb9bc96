"""A store of judged runs, one SQLite file. docs/store.md describes its tables, for those who query them themselves."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trace_check.verdict import NUMBERS, BadInput, Edge, Result, Violation

DEFAULT = Path("runs.db")
SCHEMA = 1
APPLICATION = 0x7472636B  # "trck"
# Two processes may keep their runs at the same time: one waits for the other, so many seconds at most.
PATIENCE = 30.0

Row = dict[str, Any]

_TABLES: dict[str, dict[str, type]] = {
    "runs": {"id": int, "at": str, "directory": str, "cluster": str, "verdict": str, "seconds": float}
    | dict.fromkeys(NUMBERS, int),
    "violations": {
        "run": int, "rule": str, "expected": str, "actual": str,
        "file": str, "line": int, "node": str, "inc": str, "seq": int, "event": str,
        "view": str, "instance": str, "action": str, "state": str,
    },
    "missing": {"run": int, "what": str},
    "promises": dict.fromkeys(("run", "writes", "reads", "unknown", "refused", "index"), int) | {"client": str},
    "failovers": {
        "run": int, "from_node": str, "from_term": int, "to_node": str, "to_term": int, "seconds": float,
    },
    "coverage": {
        "run": int, "view": str, "graph": str, "sha256": str, "instances": int, "states": int, "edges": int,
        "taken": int,
    },
    "edges": {"id": int, "graph": str, "sha256": str, "state": str, "action": str},
    "taken": {"run": int, "edge": int},
}  # fmt: skip


class Store:
    """The runs kept in one file. Everything raises BadInput, with what to do, when the file cannot be used."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        """Open a store; to `write`, made if there is none yet."""
        self.path = path
        if not write and not os.path.exists(path):
            raise BadInput(f"{path}: no such store; `trace-check replay DIR --db {path}` makes one")
        # SQLite finds this only when the judging is done and there is something to write.
        if write and path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            raise BadInput(f"{path}: cannot be used as a store of runs: neither it nor its directory may be read-only")
        mode = "rwc" if write else "ro"
        with self._explained():
            uri = f"{path.absolute().as_uri()}?mode={mode}"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=PATIENCE)
        from sqlite_utils import Database  # only now: loading it takes longer than judging a short run

        self._database = Database(connection)
        self._connection = connection
        try:
            with self._explained():
                if write:
                    with self._transaction():
                        self._prepare()
                self._check()
        except BaseException:
            connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            match getattr(error, "sqlite_errorcode", None):
                case sqlite3.SQLITE_FULL:
                    why = "the disk is full: free space and judge again; the run was not kept"
                case sqlite3.SQLITE_NOTADB:
                    why = "not a database: name the file of a store, or one that does not exist yet"
                case sqlite3.SQLITE_BUSY:
                    why = f"in use by another process for {PATIENCE:.0f} s: try again"
                case _:
                    why = f"cannot be used as a store of runs: {error}"
            raise BadInput(f"{self.path}: {why}") from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing, and nobody else writes meanwhile."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            # After some errors SQLite has rolled back by itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _prepare(self) -> None:
        """Make the tables, in a file that holds nothing yet."""
        if self._pragma("application_id") or self._database.table_names():
            return
        for name, columns in _TABLES.items():
            references = [(column, *of) for column, of in _REFERENCES.items() if column in columns]
            pk = "id" if "id" in columns else ("run", "edge") if name == "taken" else None
            self._database.create_table(name, columns, pk=pk, foreign_keys=references)
        self._database.table("edges").create_index(["sha256", "state", "action"], unique=True)
        self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
        self._connection.execute(f"PRAGMA user_version = {SCHEMA}")

    def _check(self) -> None:
        if self._pragma("application_id") != APPLICATION:
            raise BadInput(f"{self.path}: a database, but not a store of runs: name another file")
        schema = self._pragma("user_version")
        if schema > SCHEMA:
            raise BadInput(
                f"{self.path}: written by a newer trace-check (schema {schema}, this one knows {SCHEMA}): use that, "
                "or name another file"
            )

    def add(self, result: Result) -> int:
        """Keep a run; returns its number."""
        run = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "directory": str(Path(result.directory).absolute()),
            "cluster": result.cluster,
            "verdict": result.verdict.value,
            "seconds": result.seconds,
            **{name: getattr(result.counts, name) for name in NUMBERS},
        }
        with self._explained(), self._transaction():
            number = self._insert("runs", [run])
            own = {"run": number}
            if result.violation is not None:
                self._insert("violations", [own | _violation(result.violation)])
            self._insert("missing", [own | {"what": what} for what in result.missing])
            self._insert("promises", [own | asdict(promise) for promise in result.counts.promises])
            self._insert("failovers", [own | asdict(failover) for failover in result.failovers])
            for view in result.coverage:
                row = {field: getattr(view, field) for field in _TABLES["coverage"] if field != "run"}
                self._insert("coverage", [own | row])
                edges = [(view.graph, view.sha256, edge.state, edge.action) for edge in sorted(view.walked)]
                execute = self._connection.executemany
                execute("INSERT OR IGNORE INTO edges (graph, sha256, state, action) VALUES (?, ?, ?, ?)", edges)
                execute(
                    "INSERT INTO taken (run, edge)"
                    " SELECT ?, id FROM edges WHERE sha256 = ? AND state = ? AND action = ?",
                    [(number, *edge[1:]) for edge in edges],
                )
        return number

    def _insert(self, table: str, rows: Sequence[Row]) -> int:
        """Insert rows of one shape; returns the number of the last. (sqlite-utils would commit them one by one.)"""
        number = 0
        for row in rows:
            values = [_storable(value) for value in row.values()]
            columns = ", ".join(f'"{column}"' for column in row)
            sql = f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(values))})"
            number = self._connection.execute(sql, values).lastrowid or 0
        return number

    def _query(self, sql: str, *values: object) -> list[Row]:
        with self._explained():
            return list(self._database.query(sql, values))

    def runs(self) -> list[Row]:
        """All runs, the oldest first: the columns of `runs`, with the rule violated, and `coverage` and `failovers`."""
        runs = self._query("SELECT runs.*, rule FROM runs LEFT JOIN violations ON run = id ORDER BY id")
        for table in ("coverage", "failovers"):
            rows: dict[int, list[Row]] = {run["id"]: [] for run in runs}
            for row in self._query(f"SELECT * FROM {table} ORDER BY rowid"):
                # A run that was kept since is left out.
                rows.get(row.pop("run"), []).append(row)
            for run in runs:
                run[table] = rows[run["id"]]
        return runs

    def walked(self, run: int | None = None) -> dict[tuple[str, str], set[Edge]]:
        """The edges taken by a run, or else by any: by the name of the graph and the SHA-256 of its file."""
        found: dict[tuple[str, str], set[Edge]] = {}
        for row in self._query("SELECT DISTINCT graph, sha256 FROM coverage WHERE ? IN (run, 0)", run or 0):
            found[row["graph"], row["sha256"]] = set()
        sql = "SELECT DISTINCT edges.* FROM edges JOIN taken ON edge = id WHERE ? IN (run, 0)"
        for row in self._query(sql, run or 0):
            found.setdefault((row["graph"], row["sha256"]), set()).add(Edge(row["state"], row["action"]))
        return found


_REFERENCES: Mapping[str, tuple[str, str]] = {"run": ("runs", "id"), "edge": ("edges", "id")}


def _violation(violation: Violation) -> Row:
    where, step = violation.where, violation.step
    row: Row = {"rule": violation.rule, "expected": violation.expected, "actual": violation.actual}
    if where is not None:
        row |= asdict(where)
    if step is not None:
        row |= {"view": step.view, "instance": step.instance, "action": step.action, "state": step.state}
    return row


def _storable(value: object) -> object:
    """A trace may hold any string; SQLite takes no lone surrogates."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
