"""Real processes race for one refresh token, or are killed with it in hand; the bank is the judge.

Where a race needs two things at once, the sandbox holds a request back until the other one has
been. What it must never have seen, in any of these, is `Bank.complaints`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from akoya_token_broker_client import (
    Bearer,
    Disconnected,
    ReauthorizationRequired,
    Unavailable,
)
from tests.deployed.scene import HAND_OUT, SCHEDULE, Scene
from tests.deployed.until import until

pytestmark = pytest.mark.stack

CALLERS = 50
AT_ONCE = 20  # processes; each has unpacked a copy of its function, so that more take minutes
# In one a new consent ends the older refresh token, in the other a token used twice ends them all.
DIALECTS = ("gen1", "gen2-strict")


def test_fifty_callers_and_two_runs_of_the_schedule_send_a_stale_refresh_token_once(
    scene: Scene,
) -> None:
    with ThreadPoolExecutor(AT_ONCE) as processes:
        list(processes.map(lambda _: scene.asks_for_what_never_was(), range(AT_ONCE)))
        scene.connects("gen2-strict")
        scene.bank.holds_back("refresh")  # until all others have been turned away
        runs = [scene.refreshed_by(SCHEDULE) for _ in range(2)]
        callers = [processes.submit(scene.hand_out) for _ in range(CALLERS)]
        until(lambda: sum(one.done() for one in (*runs, *callers)) > CALLERS, "all but one")
        under_way = scene.bank.statuses()
        scene.bank.lets_go()

    answers = [one.result() for one in callers]
    assert under_way == [None]
    assert scene.bank.statuses() == [200]
    assert all(isinstance(one, Bearer | Unavailable) for one in answers)
    assert not any("FunctionError" in run.result() for run in runs)
    assert int(scene.row()["generation"]["N"]) == 2
    scene.lives_with_the_newest_set()


def test_twenty_callers_at_once_are_all_served_by_one_refresh(scene: Scene) -> None:
    with ThreadPoolExecutor(AT_ONCE) as processes:
        list(processes.map(lambda _: scene.asks_for_what_never_was(), range(AT_ONCE)))
        scene.connects("gen2-strict")
        scene.bank.answers_after(1.5)
        answers = list(processes.map(lambda _: scene.hand_out(), range(AT_ONCE)))

    assert [getattr(one, "generation", one) for one in answers] == [2] * AT_ONCE
    assert scene.bank.statuses() == [200]
    scene.lives_with_the_newest_set()


# ── refresh against re-consent ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("by", [HAND_OUT, SCHEDULE])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_redirect_that_comes_back_during_a_refresh_waits_and_its_set_is_the_newest(
    scene: Scene, dialect: str, by: str
) -> None:
    scene.connects(dialect)
    browser, redirect = scene.consents_again()
    scene.bank.holds_back("refresh")
    refresh = scene.refreshed_by(by)
    scene.bank.wait_for("refresh_token")

    early = browser.get(redirect)

    assert (early.status_code, early.headers["Retry-After"]) == (503, "5")
    assert scene.bank.statuses("authorization_code") == [200]  # of the first consent
    scene.bank.lets_go()
    refresh.result()
    scene.is_renewed(browser.get(redirect))
    assert scene.bank.statuses() == [200]
    assert scene.bank.statuses("authorization_code") == [200, 200]
    scene.lives_with_the_newest_set()


@pytest.mark.parametrize("fault", ["slow", "slow_after_commit"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_nobody_refreshes_while_the_code_of_a_renewed_consent_is_at_the_bank(
    scene: Scene, dialect: str, fault: str
) -> None:
    scene.connects(dialect)
    browser, redirect = scene.consents_again()
    scene.bank.holds_back("exchange", fault)
    comes_back = scene.pool.submit(browser.get, redirect)
    scene.bank.wait_for("authorization_code")

    asked = scene.hand_out()
    scene.functions.run_schedule()

    assert isinstance(asked, Unavailable)
    assert asked.error == "refresh_in_progress"
    assert scene.bank.statuses() == []
    scene.bank.lets_go()
    scene.is_renewed(comes_back.result())
    scene.lives_with_the_newest_set()
    assert scene.bank.statuses() == [200]  # the last one, of a bearer said to be rejected


# ── refresh against disconnect ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("by", "dialect"), [(HAND_OUT, "gen1"), (SCHEDULE, "gen2-strict")])
def test_a_disconnect_during_a_refresh_revokes_the_token_that_the_refresh_brings(
    scene: Scene, by: str, dialect: str
) -> None:
    scene.connects(dialect)
    scene.bank.holds_back("refresh")
    refresh = scene.refreshed_by(by)
    scene.bank.wait_for("refresh_token")

    assert scene.journey.broker.disconnect(scene.id).status == "REVOKE_PENDING"

    assert isinstance(scene.hand_out(), Disconnected)
    scene.functions.run_schedule()
    assert scene.bank.revoked() == []  # the token to revoke is still on its way
    scene.bank.lets_go()
    late = refresh.result()
    assert by != HAND_OUT or isinstance(late, Disconnected)
    scene.lease_runs_out()
    scene.functions.run_schedule()
    assert scene.bank.statuses() == [200]
    assert scene.bank.revoked() == [(scene.bank.issued()[-1], 200)]
    assert scene.bank.living() == []
    assert scene.status() == ("REVOKED", None)
    assert "token_set" not in scene.row()


# ── killed ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("victim", [HAND_OUT, SCHEDULE])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_process_killed_before_the_bank_did_anything_costs_no_consent(
    scene: Scene, dialect: str, victim: str
) -> None:
    scene.connects(dialect)
    killed_at_the_bank(scene, victim, "slow_then_lost")

    scene.functions.run_schedule()

    assert [one["lost"] for one in scene.bank.sends()] == [True, False]
    assert len({one["presented"] for one in scene.bank.sends()}) == 1
    scene.lives_with_the_newest_set()


ONLY_COPY = pytest.mark.parametrize(
    ("fault", "dialect"),
    [("slow", "gen1"), ("slow_after_commit", "gen1"), ("slow_after_commit", "gen2-strict")],
)


@pytest.mark.parametrize("victim", [HAND_OUT, SCHEDULE])
@ONLY_COPY
def test_a_process_killed_with_the_only_copy_of_a_set_leaves_a_suspect_that_a_renewal_heals(
    scene: Scene, fault: str, dialect: str, victim: str
) -> None:
    scene.connects(dialect)
    killed_at_the_bank(scene, victim, fault)

    scene.functions.run_schedule()
    scene.journey.make_due(scene.id)
    scene.functions.run_schedule()

    assert scene.bank.statuses() == [200, 400, 400]
    scene.is_suspected("rotation_lost")
    browser, redirect = scene.consents_again()
    scene.is_renewed(browser.get(redirect))
    assert scene.degraded() is None
    scene.lives_with_the_newest_set()


@ONLY_COPY
def test_a_process_killed_with_the_only_copy_of_a_set_ends_the_connection_by_its_name_in_time(
    scene: Scene, fault: str, dialect: str
) -> None:
    scene.connects(dialect)
    killed_at_the_bank(scene, SCHEDULE, fault)
    scene.functions.run_schedule()
    scene.is_suspected("rotation_lost")

    scene.has_been_refused_for(26 * 3_600)  # EndAfterHours: nobody bears witness
    scene.functions.run_schedule()

    assert scene.bank.statuses() == [200, 400, 400]
    assert scene.status() == ("REAUTH_REQUIRED", "rotation_lost")
    assert isinstance(scene.hand_out(), ReauthorizationRequired)
    browser, redirect = scene.consents_again()
    scene.is_renewed(browser.get(redirect))
    scene.lives_with_the_newest_set()


@pytest.mark.parametrize("victim", [HAND_OUT, SCHEDULE])
def test_a_process_killed_with_the_only_copy_of_a_set_is_made_good_where_the_bank_repeats_itself(
    scene: Scene, victim: str
) -> None:
    scene.connects("gen2-grace", reuse_window=600)  # longer than the lease of the dead
    killed_at_the_bank(scene, victim, "slow_after_commit")

    scene.functions.run_schedule()

    assert scene.bank.statuses() == [200, 200]
    assert len({one["presented"] for one in scene.bank.sends()}) == 1
    scene.lives_with_the_newest_set()


@pytest.mark.parametrize("victim", [HAND_OUT, SCHEDULE])
def test_a_process_killed_between_its_claim_and_its_send_has_sent_nothing(
    scene: Scene, victim: str
) -> None:
    scene.connects("gen2-strict")
    scene.functions.kill(victim)  # a fresh process fetches the bank's keys before it sends
    with scene.bank_stands_still():
        refresh = scene.refreshed_by(victim)
        until(lambda: "lease_id" in scene.row(), "the claim")
        scene.functions.kill(victim)
        refresh.result()

    assert "lease_id" in scene.row()
    assert scene.bank.statuses() == []
    scene.lease_runs_out()
    scene.functions.run_schedule()
    assert scene.bank.statuses() == [200]
    scene.lives_with_the_newest_set()


@pytest.mark.parametrize("victim", [HAND_OUT, SCHEDULE])
def test_a_process_killed_at_rest_is_missed_by_nobody(scene: Scene, victim: str) -> None:
    scene.connects("gen2-strict")
    scene.refreshed_by(victim).result()
    assert scene.functions.kill(victim)

    scene.journey.make_due(scene.id, stale=True)
    scene.refreshed_by(victim).result()

    assert scene.bank.statuses() == [200, 200]
    scene.lives_with_the_newest_set()


def killed_at_the_bank(scene: Scene, victim: str, fault: str) -> None:
    """Kill a function's process while the bank holds its request back; nobody sends meanwhile."""
    scene.functions.be_one(victim)
    scene.bank.holds_back("refresh", fault)
    refresh = scene.refreshed_by(victim)
    scene.bank.wait_for("refresh_token")
    if fault == "slow_after_commit":
        scene.bank.wait_for_commit()

    assert len(scene.functions.kill(victim)) == 1
    refresh.result()
    assert isinstance(scene.hand_out(), Unavailable)
    scene.functions.run_schedule()
    assert scene.bank.statuses() == [None]
    scene.bank.lets_go()
    scene.lease_runs_out()
