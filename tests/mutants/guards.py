"""All guards, area by area."""

from __future__ import annotations

from tests.mutants import (
    answers,
    cadence,
    ending,
    keeping,
    lanes,
    linking,
    pacing,
    sending,
    serving,
    watching,
)
from tests.mutants.guard import Guard

GUARDS: tuple[Guard, ...] = (
    *sending.GUARDS,
    *pacing.GUARDS,
    *lanes.GUARDS,
    *answers.GUARDS,
    *keeping.GUARDS,
    *linking.GUARDS,
    *ending.GUARDS,
    *serving.GUARDS,
    *cadence.GUARDS,
    *watching.GUARDS,
)
