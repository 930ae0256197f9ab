"""The life of a connection as a person sees it, on the whole local stack, in Chromium."""

from __future__ import annotations

import re

import pytest

from tests.browser.person import Person

pytestmark = [pytest.mark.browser, pytest.mark.stack]


def test_a_person_connects_reads_accounts_survives_an_expiry_and_disconnects(
    person: Person,
) -> None:
    person.connects()
    assert "active" in person.reads()
    assert "confirmation" not in person.page.url

    person.presses("Ask for the token")
    assert re.search(r"Fingerprint\s+[0-9a-f]{16}", person.reads())
    person.presses("Read accounts")
    assert "Everyday Checking" in person.reads()

    person.presses("Force an expiry")
    person.presses("Read accounts")
    assert "refused generation 1 (602)" in person.reads()
    assert re.search(r"Generation\s+2", person.reads())
    assert "Everyday Checking" in person.reads()
    person.page.locator("summary").click()
    person.looks()
    assert "refresh token rotated" in person.reads()

    person.presses("Disconnect")
    assert "revoke pending" in person.reads()


def test_a_wrong_password_is_said_and_can_be_corrected(person: Person) -> None:
    person.goes_home()
    person.presses("Connect mikomo")
    person.signs_in("mikomo_1", "wrong")
    assert person.page.get_by_role("alert").is_visible()

    person.signs_in("mikomo_1")
    person.presses("Share accounts")
    assert "active" in person.reads()


def test_a_cancelled_sign_in_comes_back_and_says_what_to_do(person: Person) -> None:
    person.goes_home()
    person.presses("Connect mikomo")
    person.presses("Cancel")
    person.page.get_by_role("link").first.click()
    person.looks()

    assert person.page.url.startswith(person.stack["demo_url"])
    assert "You cancelled at the bank" in person.reads()
    assert "Nothing connected yet" in person.reads() or "Your banks" in person.reads()


def test_a_denied_consent_comes_back_and_says_what_to_do(person: Person) -> None:
    person.goes_home()
    person.presses("Connect mikomo")
    person.signs_in()
    person.presses("Deny")

    assert "You cancelled at the bank" in person.reads()
    assert person.exchanges() == 0


def test_a_consent_left_without_an_answer_can_be_begun_again(person: Person) -> None:
    person.goes_home()
    person.presses("Connect mikomo")
    person.signs_in()
    person.page.get_by_role("link", name="Leave without an answer").click()
    person.looks()

    person.connects()
    assert "active" in person.reads()


def test_reloading_going_back_and_a_second_tab_send_the_code_once(person: Person) -> None:
    seen: list[str] = []
    person.page.on(
        "request", lambda request: seen.append(request.url) if "/callback?" in request.url else None
    )
    person.connects()
    (callback,) = seen

    person.goes_to(callback)
    assert "Nothing is left to do here" in person.reads()
    person.page.get_by_role("link", name="Go back to the app").click()
    assert "active" in person.reads()
    person.page.go_back()
    tab = person.page.context.new_page()
    tab.goto(callback)
    assert "Nothing is left to do here" in tab.locator("main").inner_text()

    assert person.exchanges() == 1


def test_a_redirect_without_its_cookie_connects_nobody_and_says_what_to_do(
    person: Person,
) -> None:
    person.goes_home()
    person.presses("Connect mikomo")
    person.signs_in()
    person.page.context.clear_cookies()
    person.presses("Share accounts")

    assert "does not belong to a connection started in this browser" in person.reads()
    assert person.exchanges() == 0


def test_a_bank_can_be_connected_by_keyboard_alone(person: Person) -> None:
    person.goes_home()
    keyboard = person.page.keyboard

    def tab_to(name: str) -> None:
        for _ in range(30):
            keyboard.press("Tab")
            focused = person.page.evaluate(
                "document.activeElement.textContent || document.activeElement.value || ''"
            )
            if name in focused:
                return
        pytest.fail(f"{name} cannot be reached by keyboard")

    tab_to("Connect mikomo")
    keyboard.press("Enter")
    person.page.wait_for_selector("#user_name")
    keyboard.type("mikomo_1")
    keyboard.press("Tab")
    keyboard.type("mikomo_1")
    keyboard.press("Enter")
    person.page.wait_for_selector("input[name=account]")
    tab_to("Share accounts")
    keyboard.press("Enter")
    person.page.wait_for_url("**/connections/*")
    person.looks()

    assert "active" in person.reads()
