"""Background processes of the local stack: started in order, waited for, ended together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class NotStartedError(Exception):
    """Something could not be started; the message says what and where its log is."""


def ensure_free(port: int, what: str) -> None:
    """Raise NotStartedError if something listens on the port already."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise NotStartedError(
                f"port {port} ({what}) is taken: end what uses it (make down?) or choose other "
                "ports with PORT_BASE=…"
            )


def start(
    command: Sequence[str | Path],
    *,
    log: Path,
    environment: Mapping[str, str],
    port: int,
    within: float = 30,
) -> int:
    """Start a process in a group of its own, wait until it listens, return its id."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            start_new_session=True,
        )
    try:
        _wait_until_listening(process, port, within)
    except NotStartedError as error:
        end([process.pid])
        said = log.read_text(errors="replace")[-2000:]
        raise NotStartedError(f"{error}; it said:\n{said}") from None
    except BaseException:  # Ctrl-C: nobody else knows of this process yet
        end([process.pid])
        raise
    process.returncode = 0  # it outlives this object, which must not mind: `end` goes by the id
    return process.pid


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, within: float) -> None:
    name = " ".join(map(str, process.args[:3])) if isinstance(process.args, list) else ""
    until = time.monotonic() + within
    while time.monotonic() < until:
        if process.poll() is not None:
            raise NotStartedError(f"{name} ended at once")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise NotStartedError(f"{name} does not listen on port {port}")


def ours(pid: int, root: Path) -> bool:
    """Return whether a process runs from this checkout: a noted id may be another's by now."""
    if Path("/proc/self").exists():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return False
    else:
        asked = ["ps", "-o", "command=", "-p", str(pid)]
        command = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return str(root) in command


def end(pids: Sequence[int], *, within: float = 5) -> None:
    """End process groups, last started first; kill what does not end in time."""
    for pid in reversed(pids):
        _signal(pid, signal.SIGTERM)
    until = time.monotonic() + within
    while any(_alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in pids:
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _alive(pid: int) -> bool:
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    except ChildProcessError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
