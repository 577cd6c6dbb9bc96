"""Runs one model in TLC's distributed mode: a server that holds the states, and workers that compute the next ones.

    python spec/distributed.py HACoordination_3n3t2e1w              two workers on this machine
    python spec/distributed.py MODEL --workers 4

All processes talk over the loopback interface; --show prints how they are started, for those who want them on several
machines. Invariants and step properties are checked as in a run of one process, but TLC does not say which of them a
behaviour violates, and shows only its end. Models of liveness and of random behaviours are refused: TLC cannot check
them this way.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import check
import tlc

SERVER = "tlc2.tool.distributed.TLCServer"
WORKER = "tlc2.tool.distributed.TLCWorker"


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def commands(model: tlc.Model, directory: str, port: int) -> tuple[list[str], list[str]]:
    """How to start the server, and each worker."""
    java = [tlc.find_java(), "-XX:-UsePerfData", "-Djava.rmi.server.hostname=127.0.0.1", f"-D{SERVER}.port={port}"]
    java += [f"-Djava.io.tmpdir={directory}"]
    jar = ["-cp", str(tlc.find_jar().resolve())]
    # Workers get the specification from the server, by the bare names of files in its working directory.
    for source in [*tlc.SPEC.glob("*.tla"), *tlc.SPEC.glob("models/*.tla"), tlc.SPEC / model.module]:
        shutil.copy(source, directory)
    shutil.copy(tlc.SPEC / model.config, directory)
    server = [*java, *jar, SERVER, "-tool", "-metadir", str(Path(directory) / "states")]
    # The server does not heed CHECK_DEADLOCK.
    server += ["-deadlock"] if "CHECK_DEADLOCK FALSE" in (tlc.SPEC / model.config).read_text() else []
    server += ["-config", Path(model.config).name, Path(model.module).name]
    return server, [*java, f"-D{WORKER}.threadCount=1", *jar, WORKER, "127.0.0.1"]


def run(model: tlc.Model, workers: int, show: bool, raw: bool) -> tuple[tlc.Result, int]:
    """The result, and how many workers took part to the end."""
    with tempfile.TemporaryDirectory(prefix="tlc-") as directory:
        server, worker = commands(model, directory, free_port())
        if show:
            print(shlex.join(server), *[shlex.join(worker)] * workers, sep="\n")
        begun = time.monotonic()
        said = [Path(directory) / name for name in ("server.log", *(f"worker{i}.log" for i in range(workers)))]
        processes: list[subprocess.Popen[bytes]] = []
        try:
            # A worker that comes before the server is ready tries again by itself.
            for command, log in zip([server, *[worker] * workers], said, strict=True):
                with log.open("wb") as out:
                    processes.append(subprocess.Popen(command, cwd=directory, stdout=out, stderr=subprocess.STDOUT))
            wait_for(processes, said)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        # The server names its version outside of TLC's numbered messages.
        lines = [line for line in said[0].read_text().splitlines() if "TLC Server Version" not in line]
        result = tlc.read_output(lines, model.name, raw)
        result.seconds = time.monotonic() - begun
    return result, sum("Worker:" in line and "Sent:" in line for line in lines)


def wait_for(processes: list[subprocess.Popen[bytes]], said: list[Path]) -> None:
    """Until the server and then the workers have ended. A server whose workers are all gone would wait for ever."""
    served, *workers = processes
    while served.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            served.wait(timeout=1)
        if served.poll() is None and all(w.poll() is not None for w in workers):
            text = said[1].read_text()
            if "MultiFPSet" in text:
                raise tlc.Unusable(
                    "this build of TLC cannot hand its set of states to workers (MultiFPSet is not serializable): "
                    "use the release 1.7.4, by TLA2TOOLS_JAR"
                )
            with contextlib.suppress(subprocess.TimeoutExpired):
                served.wait(timeout=20)
                return
            raise tlc.Unusable(f"the workers ended before the work was done: {text.strip().splitlines()[-1:]}")
    for worker in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(timeout=20)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a name from models/models.json")
    parser.add_argument("--workers", type=tlc.number, default=2, help="worker processes (default 2)")
    parser.add_argument("--show", action="store_true", help="print the commands before running them")
    parser.add_argument("--raw", action="store_true", help="show what TLC says")
    args = parser.parse_args()
    try:
        (model,) = tlc.choose(tlc.load_models(tlc.TABLE), [args.model], lambda m: False)
        if model.behaviours or "Live" in model.module:
            what = "random behaviours" if model.behaviours else "temporal properties"
            raise tlc.Unusable(f"{model.name} is about {what}, which TLC's workers do not check: take tlc.py check")
        tlc.say(f"{model.name}: a server and {args.workers} workers")
        result, taking_part = run(model, args.workers, args.show, args.raw)
    except tlc.Unusable as error:
        tlc.say(f"distributed.py: {error}")
        return 2
    except KeyboardInterrupt:
        tlc.say("distributed.py: interrupted")
        return 130
    if result.behaviour and not result.violated:
        result.violated = "a property"
    verdict = "ok" if model.violates and result.violated else check.judge(model, result)
    if verdict != "ok":
        print("\n".join(check.explain(model, result)))
    print(check.format_table([check.HEAD, check.row(model, result, verdict, 0)]))
    print(f"{taking_part} of {args.workers} workers took part to the end")
    return 0 if verdict == "ok" and (taking_part == args.workers or result.violated) else 1


if __name__ == "__main__":
    sys.exit(main())
