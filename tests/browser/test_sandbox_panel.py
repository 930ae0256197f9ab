"""The panel that makes the sandbox misbehave, and the broker that keeps the connection."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
import requests

from local.demo.app import SHORT_LIFE, create_app
from local.demo.sandbox_client import SandboxClient
from local.smoke import A_RUN_OF_THE_SCHEDULE
from tests.browser.person import Person

pytestmark = [pytest.mark.browser, pytest.mark.stack]

# One width is enough where a test waits for the schedule.
NARROW_ONLY = pytest.mark.parametrize("person", [390], ids=["narrow"], indirect=True)


def goes_to_panel(person: Person) -> None:
    person.page.get_by_role("link", name="Make the bank misbehave").click()
    person.looks()


def arms(person: Person, fault: str, *, times: str = "1") -> None:
    goes_to_panel(person)
    person.page.get_by_label("What goes wrong").select_option(fault)
    person.page.get_by_label("For how many requests").fill(times)
    person.presses("Arm it")


def armed(person: Person) -> str:
    text: str = person.page.get_by_role("region", name="Armed now").inner_text()
    return text


def generation(person: Person) -> int:
    found = re.search(r"Generation\s+(\d+)", person.reads())
    assert found
    return int(found.group(1))


def met(person: Person) -> list[str]:
    """Return the rows of the connection page's table of requests, newest first."""
    rows: list[str] = (
        person.page.get_by_role("table", name="The requests").locator("tbody tr").all_inner_texts()
    )
    return [" ".join(row.split()) for row in rows]


def dialect(person: Person, name: str) -> Any:
    """Return the choice; another one's sentence may name it too."""
    return person.page.get_by_role("radio", name=re.compile(f"^{name}"))


def in_force(person: Person) -> dict[str, Any]:
    return SandboxClient(person.sandbox).settings()


def test_a_connection_survives_an_answer_that_is_lost_and_is_refreshed_again(
    person: Person,
) -> None:
    person.connects()
    connection = person.page.url
    arms(person, "lost_before_commit")
    assert re.search(r"lost_before_commit\s+refresh\s+everybody\s+once", armed(person))

    person.goes_to(connection)
    assert "1 fault is armed" in person.reads()
    renewed = generation(person) + 1  # the login may have been connected before
    person.presses("Refresh now")
    assert f"200: refreshed, generation {renewed} was handed out." in person.reads()
    assert "active" in person.reads()
    assert "The bank behaves" in person.reads()
    repeated, struck = met(person)[:2]
    assert "cut off lost before commit" in struck
    assert repeated.endswith("200")

    goes_to_panel(person)
    assert "None: the bank behaves" in armed(person)

    time.sleep(SHORT_LIFE // 2 + 1)  # until the broker may refresh without a refusal
    person.goes_to(connection)
    before = generation(person)
    person.presses("Refresh now")
    assert generation(person) > before
    assert "active" in person.reads()
    assert in_force(person)["id_token_lifetime"] == 900


def test_refreshing_twice_at_once_does_not_end_the_consent(person: Person) -> None:
    person.connects()
    renewed, exchanged = generation(person) + 1, met(person)[0]
    person.presses("Refresh now")
    person.presses("Refresh now")

    assert f"200: generation {renewed} once more" in person.reads()
    assert "consent suspected" not in person.reads()
    since = met(person)[: met(person).index(exchanged)]
    assert len([row for row in since if "refresh token" in row]) == 1


def test_a_fault_can_be_armed_for_one_login_with_all_it_can_be_told(person: Person) -> None:
    person.connects()
    goes_to_panel(person)
    page = person.page
    page.get_by_label("What goes wrong").select_option("error_before_commit")
    page.get_by_label("refresh", exact=True).check()
    page.get_by_label("revoke", exact=True).check()
    page.get_by_label("For whom").select_option("mikomo/mikomo_1")
    page.get_by_label("For how many requests").fill("")
    page.get_by_label("Status of an error").fill("503")
    person.presses("Arm it")

    (one,) = SandboxClient(person.sandbox).faults()["armed"]
    assert (one["login"], one["on"]) == ("mikomo/mikomo_1", ["refresh", "revoke"])
    assert (one["times"], one["status"]) == (None, 503)
    assert "status 503" in armed(person)
    assert "until switched off" in armed(person)
    person.page.get_by_text("What each fault does").click()
    person.looks()

    person.presses("Switch all off")
    assert "None: the bank behaves" in armed(person)


def test_a_dialect_that_is_chosen_is_in_force(person: Person) -> None:
    person.goes_home()
    goes_to_panel(person)
    assert "The dialect in force is gen1." in person.reads()

    dialect(person, "gen2-strict").check()
    person.presses("Answer so from now on")

    assert "The dialect in force is gen2-strict." in person.reads()
    assert dialect(person, "gen2-strict").is_checked()
    assert in_force(person)["dialect"] == "gen2-strict"


def test_a_form_that_is_not_right_says_why_and_loses_nothing(person: Person) -> None:
    person.goes_home()
    arms(person, "html")
    page = person.page
    page.get_by_label("What goes wrong").select_option("code_dead")
    page.get_by_label("data", exact=True).check()
    page.get_by_label("Seconds of slow").fill("2.5")
    person.presses("Arm it")

    alert = page.get_by_role("alert")
    assert alert.inner_text() == "code_dead: on must be a list of one or more of: exchange"
    assert page.get_by_label("What goes wrong").input_value() == "code_dead"
    assert page.get_by_label("data", exact=True).is_checked()
    assert page.get_by_label("Seconds of slow").input_value() == "2.5"
    assert "html" in armed(person)

    page.get_by_label("data", exact=True).uncheck()
    page.get_by_label("For how many requests").fill("-1")
    person.presses("Arm it")
    assert page.get_by_role("alert").inner_text() == "times must be a number, at least 1"

    page.get_by_label("For how many requests").fill("2")
    person.presses("Arm it")
    assert re.search(r"code_dead\s+exchange\s+everybody\s+2 times", armed(person))


def test_a_dialect_nobody_speaks_changes_nothing(person: Person) -> None:
    person.goes_home()
    goes_to_panel(person)
    chosen = dialect(person, "gen2-grace")
    chosen.evaluate("radio => { radio.value = 'gen3'; radio.checked = true; }")
    person.presses("Answer so from now on")

    assert person.page.get_by_role("alert").inner_text().startswith("dialect must be one of")
    assert in_force(person)["dialect"] == "gen1"


def test_a_form_of_another_page_arms_nothing(person: Person) -> None:
    base = person.stack["demo_url"].rstrip("/")
    for path in ("faults", "faults/off", "dialect"):
        answer = requests.post(f"{base}/sandbox/{path}", data={"fault": "html"}, timeout=10)
        assert answer.status_code == 400
    assert SandboxClient(person.sandbox).faults()["armed"] == []


def test_without_the_sandbox_there_is_no_panel(stack: dict[str, Any]) -> None:
    elsewhere = stack["identity_provider"] | {"is_sandbox": False}
    visitor = create_app(stack | {"identity_provider": elsewhere}).test_client()

    assert visitor.get("/sandbox").status_code == 404
    assert "misbehave" not in visitor.get("/").text


def test_a_fault_can_be_armed_by_keyboard_alone(person: Person) -> None:
    person.goes_home()
    goes_to_panel(person)
    keyboard, seen = person.page.keyboard, set()
    for _ in range(40):
        keyboard.press("Tab")
        focused = person.page.evaluate(
            "document.activeElement.id || document.activeElement.name || "
            "document.activeElement.textContent"
        )
        seen.add(focused)
        if focused == "times":
            keyboard.type("7")
        if focused == "Arm it":
            keyboard.press("Enter")
            break
    person.page.get_by_text("Armed. The next request").wait_for()
    person.looks()

    assert {"fault", "on", "login", "times", "status", "seconds", "retry_after"} <= seen
    assert "7 times" in armed(person)


@NARROW_ONLY
def test_a_secret_refused_for_all_costs_nobody_a_connection(person: Person) -> None:
    person.connects()
    connection, before = person.page.url, generation(person)
    arms(person, "wrong_secret", times="")
    person.goes_to(connection)
    person.presses("Refresh now")
    assert re.search(r"\b500 server_error: ", person.reads())
    assert met(person)[0].endswith("token refresh token 401 invalid_client wrong secret")

    person.presses("Ask for the token")
    assert re.search(r"Fingerprint\s+[0-9a-f]{16}", person.reads())
    assert "active" in person.reads()

    goes_to_panel(person)
    person.presses("Switch all off")
    person.goes_to(connection)
    until = time.monotonic() + 2 * A_RUN_OF_THE_SCHEDULE  # a run must find that all is well again
    while generation(person) == before and time.monotonic() < until:
        time.sleep(5)
        person.page.reload()
    person.looks()

    assert generation(person) > before
    assert "active" in person.reads()
    person.presses("Refresh now")
    assert "200: " in person.reads()
