"""A headless Chromium in front of the deployed stack."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from local.build import RUN
from tests.browser.person import Person

SCREENSHOTS = RUN / "screenshots"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the browser's path, or skip."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs Chromium on the PATH (Debian: apt-get install chromium)")
    return found


@pytest.fixture
def sandbox(stack: dict[str, Any]) -> str:
    """Return the sandbox's address, with all its people and faults as at the start."""
    url: str = stack["identity_provider"]["url"]
    requests.post(f"{url}/admin/reset", timeout=10).raise_for_status()
    return url


@pytest.fixture(params=[1280, 390], ids=["wide", "narrow"])
def person(
    request: pytest.FixtureRequest, chromium: str, sandbox: str, stack: dict[str, Any]
) -> Iterator[Person]:
    """Sit a person down in front of a fresh browser; at the end nothing may have gone wrong."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where Chromium is

    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        context = browser.new_context(viewport={"width": request.param, "height": 800})
        name = request.node.name.partition("[")[0].removeprefix("test_")
        seated = Person(
            context.new_page(), stack, sandbox, Path(SCREENSHOTS / f"{name}-{request.param}")
        )
        yield seated
        assert seated.complaints == []
        browser.close()
