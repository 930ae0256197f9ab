"""`python -m local up | down | demo | smoke`: the whole product on one machine."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time

from local.processes import NotStartedError
from local.stack import Stack

PORT_BASE = int(os.environ.get("PORT_BASE", "8700"))


def main() -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local")
    parser.add_argument("command", choices=("up", "down", "demo", "smoke"))
    command = parser.parse_args().command
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return {"up": up, "down": down, "demo": demo, "smoke": smoke}[command]()
    except NotStartedError as error:
        print(f"local: {error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or b"").decode(errors="replace")
        print(f"local: {error.cmd[0]} failed:\n{said[-4000:]}", file=sys.stderr)
    return 1


def up() -> int:
    """Start the stack in the background."""
    stack = Stack("up", PORT_BASE)
    description = stack.start(os.environ)
    print(f"up: {description['demo_url']} (addresses: {stack.description}); make down ends it")
    return 0


def down() -> int:
    """End what `up` started."""
    Stack("up", PORT_BASE).stop()
    print("down")
    return 0


def demo() -> int:
    """Run the stack in the foreground until Ctrl-C."""
    stack = Stack("demo", PORT_BASE)
    try:
        description = stack.start(os.environ)
        print(f"\n  Open {description['demo_url']}\n\nCtrl-C ends it.", flush=True)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("\nending …", flush=True)
        return 0
    finally:
        stack.stop()


def smoke() -> int:
    """Drive the main job on a stack of its own."""
    from local.smoke import run  # noqa: PLC0415 - only here

    stack = Stack("smoke", PORT_BASE + 100)
    try:
        return run(stack.start(os.environ, with_demo=False))
    finally:
        stack.stop()


if __name__ == "__main__":
    sys.exit(main())
