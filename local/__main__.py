"""`python -m local up | down | demo | smoke`: the whole product on one machine."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

from local.build import RUN
from local.processes import NotStartedError
from local.stack import Stack

PORT_BASE = int(os.environ.get("PORT_BASE", "8700"))
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last: a closed terminal
ADDRESSES = RUN / "stack.json"  # of what `up` started


def main() -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local")
    parser.add_argument("command", choices=("up", "down", "demo", "smoke"))
    command = parser.parse_args().command
    for ending in ENDINGS:
        signal.signal(ending, interrupt)
    try:
        return {"up": up, "down": down, "demo": demo, "smoke": smoke}[command]()
    except KeyboardInterrupt:
        return 130
    except NotStartedError as error:
        print(f"local: {error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or b"").decode(errors="replace")
        print(f"local: {error.cmd[0]} failed:\n{said[-4000:]}", file=sys.stderr)
    return 1


def interrupt(*_: object) -> NoReturn:
    """Begin to end; a second Ctrl-C does not cut that short."""
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt


def up() -> int:
    """Start the stack in the background."""
    stack = Stack("up", PORT_BASE)
    description = stack.start(os.environ)
    ADDRESSES.unlink(missing_ok=True)
    ADDRESSES.symlink_to(stack.description.relative_to(RUN))
    print(f"up: {description['demo_url']} (addresses: {ADDRESSES}); make down ends it")
    return 0


def down() -> int:
    """End what `up` started."""
    ADDRESSES.unlink(missing_ok=True)
    Stack("up", PORT_BASE).stop()
    print("down")
    return 0


def demo() -> int:
    """Run the stack in the foreground until Ctrl-C."""
    with ended(Stack("demo", PORT_BASE)) as stack, contextlib.suppress(KeyboardInterrupt):
        description = stack.start(os.environ)
        print(f"\n  Open {description['demo_url']}\n\nCtrl-C ends it.", flush=True)
        while True:
            time.sleep(3600)
    return 0


def smoke() -> int:
    """Drive the main job on a stack of its own."""
    from local.smoke import run  # noqa: PLC0415 - only here

    with ended(Stack("smoke", PORT_BASE + 100)) as stack:
        return run(stack.start(os.environ, with_demo=False))


@contextlib.contextmanager
def ended(stack: Stack) -> Iterator[Stack]:
    """Leave nothing of the stack behind."""
    try:
        yield stack
    finally:
        print("ending …", flush=True)
        stack.stop()


if __name__ == "__main__":
    sys.exit(main())
