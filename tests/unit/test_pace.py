"""The turns of one run's sends: as far apart as the rate says, repeats before first sends."""

from __future__ import annotations

import threading

from token_broker.use_cases.pace import Pace


def test_every_send_waits_for_its_share_of_a_second() -> None:
    pauses: list[float] = []
    pace = Pace(4, pause=pauses.append, has_answered=lambda: True)

    pace.first("one")
    pace.again()
    pace.first("another")

    assert pauses == [0.25, 0.25, 0.25]


def test_the_first_in_a_run_is_its_canary_until_something_answers() -> None:
    answered = threading.Event()
    pace = Pace(2, pause=lambda _: None, has_answered=answered.is_set)

    pace.first("canary")
    pace.first("another")

    assert (pace.may_repeat("canary"), pace.may_repeat("another")) == (True, False)
    answered.set()
    assert pace.may_repeat("another")


def test_a_repeat_goes_before_a_first_send_that_waits_for_longer() -> None:
    order: list[str] = []
    go_on = threading.Event()

    def pause(_: float) -> None:
        order.append(threading.current_thread().name)
        if len(order) == 1:
            assert go_on.wait(30)

    pace = Pace(2, pause=pause, has_answered=lambda: True)
    sender = threading.Thread(target=pace.first, args=("one",), name="sender")
    first = threading.Thread(target=pace.first, args=("two",), name="first")
    repeat = threading.Thread(target=pace.again, name="repeat")

    sender.start()
    wait_until(lambda: order == ["sender"])
    first.start()
    wait_until(lambda: waiting(pace) == 1)
    repeat.start()
    wait_until(lambda: waiting(pace) == 2)
    go_on.set()
    for thread in (sender, first, repeat):
        thread.join()

    assert order == ["sender", "repeat", "first"]


def waiting(pace: Pace) -> int:
    """Return how many threads wait for their turn."""
    return len(pace._turn._waiters)  # type: ignore[attr-defined]


def wait_until(is_so: object) -> None:
    assert callable(is_so)
    while not is_so():
        threading.Event().wait(0.001)
