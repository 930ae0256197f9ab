"""`python -m operations --stack-name NAME COMMAND`: run by hand, with your own AWS credentials."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from botocore.exceptions import BotoCoreError

from operations import move_in, move_out, reinstate
from operations.adopt import adopt
from operations.audit import Trail
from operations.deployed_stack import look_at
from operations.many import Entry
from token_broker import __version__
from token_broker.domain.connection import Reason
from token_broker.domain.errors import TokenBrokerError
from token_broker.runtime import bootstrap, settings
from token_broker.runtime.observability import ALARMS
from token_broker.use_cases.broker import Broker

GOOD = frozenset({"imported", "present", "would_be_imported", "exported", "reinstated", "active"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 all done, 1 not all."""
    options = _parser().parse_args(arguments)
    try:
        stack = look_at(options.stack_name)
        broker = replace(bootstrap.sending(stack.environ), record=_tell)
        trail = Trail.of(stack.audit_log_group, run=bootstrap.new_id())
        return run(broker, trail, stack.environ, options)
    except KeyboardInterrupt:
        print("stopped; run the command again to go on", file=sys.stderr)
        return 130
    except TokenBrokerError as exc:
        print(f"operations: {exc.detail or exc.description}", file=sys.stderr)
    except BotoCoreError as exc:
        print(f"operations: {exc}", file=sys.stderr)
    except OSError as exc:
        print(f"operations: {exc.filename}: {exc.strerror}", file=sys.stderr)
    return 1


def run(
    broker: Broker, trail: Trail, environ: Mapping[str, str], options: argparse.Namespace
) -> int:
    """Write down what a command is about to do, then do it; raises UpstreamUnavailable."""
    plan = _COMMANDS[options.command](broker, environ, options)
    trail.write(plan.act, plan.about)
    return plan.carry_out()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a command is about to do; making it changes nothing."""

    act: str
    about: list[Entry]  # the connections, as far as they are known; empty: the whole stack
    carry_out: Callable[[], int]  # returns the exit status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m operations", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--stack-name", required=True)
    commands = parser.add_subparsers(dest="command", required=True)

    into = commands.add_parser("import", help="bring in connections a backend already holds")
    into.add_argument("file", type=argparse.FileType("r"), help="JSON lines; - reads stdin")
    into.add_argument("--dry-run", action="store_true", help="check everything, write nothing")
    into.add_argument("--report", type=Path, help="where to write a line each; default: stdout")

    out = commands.add_parser("export", help="take connections out with their tokens, to leave")
    out.add_argument("file", type=Path, help="a new file, readable by you alone")
    out.add_argument("--subject", action="append", default=[], help="only this one's; repeatable")
    out.add_argument("--report", type=Path, help="where to write a line each; default: stdout")

    back = commands.add_parser("reinstate", help="undo ends within the quarantine")
    back.add_argument("connection_id", nargs="*", help="or choose by the options")
    back.add_argument("--file", type=argparse.FileType("r"), help="ids, one a line; - reads stdin")
    back.add_argument("--subject", action="append", default=[], help="all of this one; repeatable")
    back.add_argument("--reason", action="append", default=[], choices=[*Reason], help="repeatable")
    back.add_argument("--report", type=Path, help="where to write a line each; default: stdout")

    commands.add_parser("adopt", help="let the broker send from a restored table")
    return parser


def _import(broker: Broker, _: Mapping[str, str], options: argparse.Namespace) -> Plan:
    with options.file as text:
        lines = move_in.read(broker, text)

    def carry_out() -> int:
        with _report(options.report) as add:
            return _status(move_in.bring_in(broker, lines, dry_run=options.dry_run, report=add))

    leased = [line.leased for line in lines if line.leased]
    return Plan(
        act="import-dry-run" if options.dry_run else "import",
        about=[{"subject": one.subject, "connector": one.connector} for one in leased],
        carry_out=carry_out,
    )


def _export(broker: Broker, environ: Mapping[str, str], options: argparse.Namespace) -> Plan:
    chosen = move_out.chosen(broker, options.subject)

    def carry_out() -> int:
        with _report(options.report) as add:
            counts = move_out.take_out(
                broker,
                [one.id for one in chosen],
                file=options.file,
                quarantine=settings.quarantine(environ),
                report=add,
            )
        return _status(counts)

    about: list[Entry] = [{"connection_id": one.id, "subject": one.subject} for one in chosen]
    return Plan(act="export", about=about, carry_out=carry_out)


def _reinstate(broker: Broker, _: Mapping[str, str], options: argparse.Namespace) -> Plan:
    ids = list(options.connection_id)
    if options.file:
        with options.file as text:
            ids += reinstate.ids_of(text)
    if options.subject or options.reason:
        ids += reinstate.chosen(broker, subjects=options.subject, reasons=options.reason)

    def carry_out() -> int:
        if not ids:
            print("operations: nothing to reinstate", file=sys.stderr)
            return 1
        with _report(options.report) as add:
            counts = reinstate.reinstate_all(broker, ids, report=add)
        print("the next run shows whether their tokens live", file=sys.stderr)
        return _status(counts)

    about: list[Entry] = [{"connection_id": one} for one in ids]
    return Plan(act="reinstate", about=about, carry_out=carry_out)


def _adopt(broker: Broker, *_: object) -> Plan:
    def carry_out() -> int:
        for part in adopt(broker):
            print(f"was recorded for {part}")
        print("adopted; enable the schedule")
        return 0

    return Plan(act="adopt", about=[], carry_out=carry_out)


_COMMANDS: Mapping[str, Callable[[Broker, Mapping[str, str], argparse.Namespace], Plan]] = {
    "import": _import,
    "export": _export,
    "reinstate": _reinstate,
    "adopt": _adopt,
}


@contextmanager
def _report(file: Path | None) -> Iterator[Callable[[Entry], None]]:
    """Write a JSON object a line, to a file or to stdout; never a token."""
    with file.open("w") if file else nullcontext(sys.stdout) as stream:

        def add(entry: Entry) -> None:
            kept = {name: value for name, value in entry.items() if value is not None}
            print(json.dumps(kept), file=stream, flush=True)

        yield add


def _status(counts: Counter[str]) -> int:
    return 0 if set(counts) <= GOOD else 1


def _tell(event: str, *, value: int = 1, **fields: str | int | None) -> None:
    """Show what an operator must know of; the rest is in the report."""
    if event in ALARMS:
        print(json.dumps({"event": event, "value": value, **fields}), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
