"""What tests fetch from npm when they run: kept in the git-ignored run folder, never committed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from local.build import RUN

WITHIN = 300


def folder_of(name: str) -> Path:
    """Return the folder a test may fill, made if need be."""
    folder = RUN / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def need(*programs: str) -> None:
    """Skip the test unless these programs are there."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} on PATH")


def npm(*arguments: str, folder: Path) -> None:
    """Run npm in a folder; skip the test with npm's word if it fails, as it does offline."""
    done = subprocess.run(
        ["npm", *arguments, "--prefer-offline", "--fetch-retries=0", "--loglevel=error"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN,
    )
    if done.returncode:
        said = done.stderr.strip() or "no reason"
        pytest.skip(f"npm {arguments[0]} failed: {said.splitlines()[0]}")
