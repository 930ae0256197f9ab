"""Feed an event to a function of the running local stack: `make invoke F=callback E=…`."""

from __future__ import annotations

import argparse
import json
import sys
from urllib.parse import urlsplit

from local.build import ROOT, RUN
from local.embedded_aws import client

EVENTS = ROOT / "events"


def main() -> int:
    """Print what the function answers; the exit status tells whether it did."""
    parser = argparse.ArgumentParser(prog="python -m local.invoke")
    parser.add_argument("function", help="authorize, callback, connections, token or refresh")
    parser.add_argument("event", help="a file of events/, by its name without .json")
    options = parser.parse_args()
    description, event = RUN / "stack.json", EVENTS / f"{options.event}.json"
    if not description.exists():
        print("invoke: nothing runs; `make up` starts the stack", file=sys.stderr)
        return 1
    if not event.exists():
        known = ", ".join(sorted(path.stem for path in EVENTS.glob("*.json")))
        print(f"invoke: no such event; there are: {known}", file=sys.stderr)
        return 1
    stack = json.loads(description.read_text())
    if options.function not in stack["functions"]:
        print(
            f"invoke: no such function; there are: {', '.join(stack['functions'])}", file=sys.stderr
        )
        return 1
    answer = client("lambda", urlsplit(stack["aws_endpoint_url"]).port or 0).invoke(
        FunctionName=stack["functions"][options.function], Payload=event.read_bytes()
    )
    print(json.dumps(json.loads(answer["Payload"].read()), indent=2))
    return 1 if "FunctionError" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
