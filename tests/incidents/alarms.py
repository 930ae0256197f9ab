"""The template's alarms, as CloudWatch keeps them: fed with a minute's counts, they page or not."""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tests.template.deployed import Deployed, deployed

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
        self._rules = _template().of_type("AWS::CloudWatch::CompositeAlarm")
        self._on: set[str] = set()
        self._minute: dict[str, list[int]] = {}
        self.counted: Counter[str] = Counter()

    def count(self, metric: str, value: int = 1) -> None:
        """Count something in the current minute."""
        self._minute.setdefault(metric, []).append(value)
        self.counted[metric] += value

    def minute_is_over(self) -> None:
        """Let every alarm judge; whoever changes to ALARM and has somebody to tell pages."""
        for alarm in self._alarms.values():
            alarm.minute_is_over(self._minute.get(alarm.properties["MetricName"], []))
        self._minute = {}
        on = {name for name, alarm in self._alarms.items() if alarm.is_on}
        on |= {name for name, rule in self._rules.items() if _holds(rule["AlarmRule"], on)}
        self.pages += sorted(name for name in on - self._on if self._pages(name))
        self._on = on

    @property
    def on(self) -> frozenset[str]:
        """The alarms whose state is ALARM."""
        return frozenset(self._on)

    def _pages(self, name: str) -> bool:
        properties = self._rules.get(name) or self._alarms[name].properties
        return "AlarmActions" in properties


def _holds(rule: str, on: set[str]) -> bool:
    """Tell whether a composite alarm is on: one of the first named, and none of the others."""
    wanted, _, unwanted = rule.partition("AND NOT")
    names = re.compile(r"ALARM\((\w+)\)")
    return not on.isdisjoint(names.findall(wanted)) and on.isdisjoint(names.findall(unwanted))
