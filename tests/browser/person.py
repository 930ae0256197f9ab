"""What a person does and sees; every page seen is photographed and checked for overflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests

# Chromium's own remark on a page that is meant to be a 4xx.
EXPECTED_REMARK = "Failed to load resource: the server responded with a status of 4"


class Person:
    """One person with one browser."""

    def __init__(self, page: Any, stack: dict[str, Any], sandbox: str, pictures: Path) -> None:
        self.page = page
        self.stack = stack
        self.sandbox = sandbox
        self.complaints: list[str] = []
        self._pictures = pictures
        self._seen = 0
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: Any) -> None:
        if message.type == "error" and not message.text.startswith(EXPECTED_REMARK):
            self.complaints.append(message.text)

    def looks(self) -> None:
        """Look at the page as it is: take its picture, mind what sticks out."""
        self.page.wait_for_load_state()
        self._seen += 1
        self.page.screenshot(path=f"{self._pictures}-{self._seen:02}.png", full_page=True)
        excess = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        if excess > 0:
            self.complaints.append(f"{self.page.url} is {excess} px too wide")

    def goes_to(self, url: str) -> None:
        self.page.goto(url)
        self.looks()

    def goes_home(self) -> None:
        self.goes_to(self.stack["demo_url"])

    def presses(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=False).first.click()
        self.looks()

    def reads(self) -> str:
        text: str = self.page.locator("main").inner_text()
        return text

    def signs_in(self, user: str = "mikomo_1", password: str | None = None) -> None:
        self.page.get_by_label("User name").fill(user)
        self.page.get_by_label("Password").fill(password or user)
        self.presses("Sign in")

    def connects(self, user: str = "mikomo_1") -> None:
        """Connect a bank from the demo's start page."""
        self.goes_home()
        self.presses("Connect mikomo")
        self.signs_in(user)
        self.presses("Share accounts")

    def exchanges(self) -> int:
        """Count the authorization codes the sandbox was sent."""
        ledger = requests.get(f"{self.sandbox}/admin/ledger", timeout=10).json()
        return sum(one.get("grant_type") == "authorization_code" for one in ledger["requests"])
