"""The operator's audit trail: what a command is about to do is written down before it does it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from operations.many import Entry
from token_broker.domain.errors import UpstreamUnavailable
from token_broker.runtime.audit import subject_hash

AT_ONCE = 1_000  # lines a request; CloudWatch takes 10,000 and a megabyte


class Trail:
    """The stack's log group for its operators; a command has a stream of its own in it."""

    def __init__(self, logs: Any, log_group: str, *, caller: str, run: str) -> None:
        """Write as `caller`, an ARN, for one `run` of a command, whose id never repeats."""
        self._logs = logs
        self._log_group = log_group
        self._caller = caller
        self._run = run

    @classmethod
    def of(cls, log_group: str, *, run: str) -> Trail:
        """Write as whoever runs this; raises UpstreamUnavailable if AWS does not say who."""
        try:
            caller = boto3.client("sts").get_caller_identity()["Arn"]
        except (ClientError, BotoCoreError) as exc:
            raise _not_written(f"AWS does not say who you are ({_code(exc)})") from None
        return cls(boto3.client("logs"), log_group, caller=caller, run=run)

    def write(self, act: str, about: Sequence[Entry]) -> None:
        """Write that `act` begins, and a line for each connection; raises UpstreamUnavailable.

        `about`: what is known of each: connection_id, or subject and connector.
        """
        every: list[Entry] = [{"count": len(about)}, *about]
        lines = (self._line(act, one) for one in every)
        stream = f"{act}/{self._run}"
        try:
            self._logs.create_log_stream(logGroupName=self._log_group, logStreamName=stream)
            while batch := list(islice(lines, AT_ONCE)):
                self._put(stream, batch)
        except (ClientError, BotoCoreError) as exc:
            raise _not_written(f"CloudWatch: {_code(exc)}") from None

    def _put(self, stream: str, lines: Iterable[dict[str, Any]]) -> None:
        now = int(time.time() * 1000)
        answer = self._logs.put_log_events(
            logGroupName=self._log_group,
            logStreamName=stream,
            logEvents=[{"timestamp": now, "message": json.dumps(line)} for line in lines],
        )
        if answer.get("rejectedLogEventsInfo"):
            raise _not_written("CloudWatch refused the lines: is this machine's clock right?")

    def _line(self, act: str, about: Entry) -> dict[str, Any]:
        """Return a line as the functions' own are, with a hash in the subject's place."""
        known = dict(about)
        if "subject" in known:
            known["subject_hash"] = subject_hash(str(known.pop("subject")))
        return {
            "event": "audit",
            "audit": True,
            "act": act,
            "caller": self._caller,
            "request_id": self._run,
            "outcome": "begun",
            **known,
        }


def _not_written(why: str) -> UpstreamUnavailable:
    """Return the error of a trail that did not take the lines, so that nothing is done."""
    return UpstreamUnavailable(detail=f"nothing was done, the audit trail is away: {why}")


def _code(exc: ClientError | BotoCoreError) -> str:
    return exc.response["Error"]["Code"] if isinstance(exc, ClientError) else type(exc).__name__
