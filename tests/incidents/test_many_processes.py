"""Each process knows the breaker from its own cache, and callers are many."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import requests

from tests.clock import START
from tests.world import World
from token_broker.adapters.dynamodb import DynamoRows
from token_broker.domain.errors import TokenBrokerError
from token_broker.store.control import Control

PROCESSES, MINUTES = 4, 6
STEP = 5  # seconds between two questions of each process


def process_of(world: World) -> World:
    rows = DynamoRows(world.aws.dynamodb, f"{world.prefix}-control")
    control = Control(rows, clock=world.clock, record=world.broker.record)
    return replace(world, broker=replace(world.broker, control=control))


def test_callers_of_all_processes_leave_the_one_try_a_minute_to_the_schedule(world: World) -> None:
    made = [world.connect(f"person-{n}", f"mikomo_{n}") for n in range(1, PROCESSES + 1)]
    world.clock.now = float(START + 3_600)  # their bearers have run out
    world.provider.change_client_secret("another")

    def answer_takes_two_seconds(answer: requests.Response) -> requests.Response:
        world.clock.advance(2)
        return answer

    world.http.after = answer_takes_two_seconds
    callers = [process_of(world) for _ in made]
    schedule, by_hand = process_of(world), process_of(world)

    for second in range(0, MINUTES * 60, STEP):
        world.clock.now = max(world.clock.now, float(START + 3_600 + second))
        if second % 60 == 0:
            schedule.run_schedule()
        if second % 60 == 30:
            by_hand.run_schedule()  # or a run of the minute before that has not ended
        for caller, one in zip(callers, made, strict=True):
            with suppress(TokenBrokerError):
                caller.hand_out(one.id)

    assert MINUTES <= world.sends() <= MINUTES + PROCESSES  # each may not have heard of it yet
