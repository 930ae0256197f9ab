"""The README's commands for one machine do what it says of them."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

pytestmark = pytest.mark.stack
ROOT = Path(__file__).parents[2]


def environment(port_base: int) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {"PORT_BASE": str(port_base), "PYTHONUNBUFFERED": "1"}


@pytest.fixture(autouse=True)
def environments_are_there(stack: dict[str, Any]) -> None:
    """Skip with the stack's reason where there is none; its build is used again here."""
    del stack


def test_make_smoke_drives_the_main_job_and_every_step_is_as_it_should_be() -> None:
    smoke = subprocess.run(
        ["make", "-s", "smoke"],
        cwd=ROOT,
        env=environment(9300),
        capture_output=True,
        text=True,
        check=False,
    )
    assert smoke.returncode == 0, smoke.stdout + smoke.stderr
    for step in ("connect", "renew", "other login", "same login", "outage", "export", "ledger"):
        assert f"\n{step}" in smoke.stdout
    assert not (ROOT / "local/.run/smoke").exists()


def test_make_demo_shows_its_page_and_ctrl_c_leaves_nothing_behind() -> None:
    with subprocess.Popen(
        ["make", "-s", "demo"],
        cwd=ROOT,
        env=environment(9500),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "Open http" in line:
                break
        page = requests.get("http://localhost:9500/", timeout=10)
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal's Ctrl-C does
        demo.stdout.read()
    assert "Your banks" in page.text
    assert not (ROOT / "local/.run/demo").exists()
    with pytest.raises(requests.ConnectionError):
        requests.get("http://localhost:9500/", timeout=10)


def test_make_up_names_every_address_and_make_down_ends_it() -> None:
    def make(target: str) -> str:
        return subprocess.run(
            ["make", "-s", target],
            cwd=ROOT,
            env=environment(9600),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert "http://localhost:9600" in make("up")
    addresses = ROOT / "local/.run/stack.json"
    assert '"callback_url": "http://localhost:9601/callback"' in addresses.read_text()
    assert requests.get("http://localhost:9600/", timeout=10).ok
    make("down")
    assert not addresses.exists()
