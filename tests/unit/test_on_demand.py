"""What is made when it is first used."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from token_broker.runtime.on_demand import on_demand, ready


class Part:
    """Counts how many of it were made."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.name = "part"


@pytest.fixture(autouse=True)
def none_is_made() -> None:
    Part.made = 0


def test_a_part_is_made_when_it_is_first_used_and_once() -> None:
    part = on_demand(Part)
    assert Part.made == 0
    assert [part.name, part.name] == ["part", "part"]
    assert Part.made == 1


def test_a_part_can_be_made_before_it_is_used() -> None:
    part = on_demand(Part)
    ready(part)
    assert Part.made == 1
    assert part.name == "part"
    assert Part.made == 1


def test_many_threads_share_one_part() -> None:
    """Two that were made at once would meet; one that is made alone waits for the other in vain."""
    meeting = threading.Barrier(2)

    def make() -> Part:
        with suppress(threading.BrokenBarrierError):
            meeting.wait(0.1)
        return Part()

    part = on_demand(make)
    with ThreadPoolExecutor(2) as threads:
        names = list(threads.map(lambda _: part.name, range(2)))
    assert names == ["part", "part"]
    assert Part.made == 1


def test_what_could_not_be_made_is_tried_again() -> None:
    tries = iter([ValueError("not yet"), None])

    def make() -> Part:
        if failed := next(tries):
            raise failed
        return Part()

    part = on_demand(make)
    with pytest.raises(ValueError, match="not yet"):
        _ = part.name
    assert part.name == "part"
