"""The template's alarms, as CloudWatch keeps them: fed with a minute's counts, they page or not."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tests.template.deployed import Deployed, deployed
from token_broker.runtime.observability import counted_as

TOPIC = "arn:aws:sns:us-east-1:123456789012:on-call"


@cache
def _template() -> Deployed:
    return deployed(AlarmTopicArn=TOPIC)


@dataclass
class Alarm:
    """One alarm on a metric."""

    properties: dict[str, Any]
    is_on: bool = False
    _minutes: list[list[int]] = field(default_factory=list)
    _breaches: deque[bool] = field(default_factory=deque)

    def minute_is_over(self, values: list[int]) -> None:
        """Add a minute's values; a period is judged when it is over."""
        self._minutes.append(values)
        if len(self._minutes) * 60 < self.properties["Period"]:
            return
        found = [value for minute in self._minutes for value in minute]
        self._minutes.clear()
        self._breaches.append(self._is_breach(found))
        while len(self._breaches) > self.properties["EvaluationPeriods"]:
            self._breaches.popleft()
        self.is_on = sum(self._breaches) >= self.properties["DatapointsToAlarm"]

    def _is_breach(self, found: list[int]) -> bool:
        if not found:
            return bool(self.properties["TreatMissingData"] == "breaching")
        value = sum(found) if self.properties["Statistic"] == "Sum" else max(found)
        threshold, operator = (
            int(self.properties["Threshold"]),
            self.properties["ComparisonOperator"],
        )
        return bool(
            {
                "GreaterThanThreshold": value > threshold,
                "LessThanThreshold": value < threshold,
            }[operator]
        )


class Alarms:
    """All alarms of a stack, and every page they sent."""

    def __init__(self) -> None:
        self.pages: list[str] = []
        self._alarms = {
            name: Alarm(properties)
            for name, properties in _template().of_type("AWS::CloudWatch::Alarm").items()
        }
        self._on: set[str] = set()
        self._minute: dict[str, list[int]] = {}
        self.counted: Counter[str] = Counter()

    def count(self, event: str, value: int = 1) -> None:
        """Count an event in the current minute, as the functions do."""
        for metric in counted_as(event):
            self._minute.setdefault(metric, []).append(value)
            self.counted[metric] += value

    def minute_is_over(self) -> None:
        """Let every alarm judge; one that changes to ALARM pages."""
        for alarm in self._alarms.values():
            alarm.minute_is_over(self._minute.get(alarm.properties["MetricName"], []))
        self._minute = {}
        on = {name for name, alarm in self._alarms.items() if alarm.is_on}
        self.pages += sorted(on - self._on)
        self._on = on

    @property
    def on(self) -> frozenset[str]:
        """The alarms whose state is ALARM."""
        return frozenset(self._on)
