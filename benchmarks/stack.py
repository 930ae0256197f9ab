"""What the comparisons with AWS run on: an embedded AWS and an Akoya, each a process of its own.

What is measured is a third process, so that only our side's CPU counts.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import tls
from benchmarks.tls_server import CLIENT_ID
from local.embedded_aws import REGION, ROOT_KEY, client, endpoint, start_embedded_aws
from local.processes import end
from tests.handlers.deployed import environment
from tests.tables import Aws, create_storage

PREFIX = "bench"
ROOT = Path(__file__).parents[1]
Environment = dict[str, str]


@contextmanager
def stack() -> Iterator[Environment]:
    """Start both, make the tables, the key and the secret; return a function's environment."""
    with TemporaryDirectory() as folder, tls.server() as (address, trust_store):
        port = _free_port()
        process = start_embedded_aws(port, Path(folder))
        try:
            aws = _aws(port)
            create_storage(aws, PREFIX, client_id=CLIENT_ID, client_secret="s")
            yield environment(aws, PREFIX) | {
                "CLIENT_ID": CLIENT_ID,
                "IDENTITY_PROVIDER_URL": address,
                "TRUST_STORE": trust_store,
                "AWS_ENDPOINT_URL": endpoint(port),
                "AWS_DEFAULT_REGION": REGION,
                "AWS_ACCESS_KEY_ID": ROOT_KEY,
                "AWS_SECRET_ACCESS_KEY": ROOT_KEY,
                "POWERTOOLS_SERVICE_NAME": "s",
                "POWERTOOLS_METRICS_NAMESPACE": "n",
            }
        finally:
            end([process])


def measured(module: str, side: str, environment: Environment) -> float:
    """Return the CPU of one act in milliseconds, measured in a fresh process."""
    folders = (ROOT, ROOT / "layers" / "token_broker", ROOT / "functions" / "token")
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.acts", module, side],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": ":".join(map(str, folders))},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise SystemExit(f"{module}, {side}: {run.stderr}")
    return float(json.loads(run.stdout.splitlines()[-1])["cpu"])


def _aws(port: int) -> Aws:
    kms = client("kms", port)
    return Aws(
        dynamodb=client("dynamodb", port),
        s3=client("s3", port),
        kms=kms,
        secretsmanager=client("secretsmanager", port),
        key_arn=kms.create_key()["KeyMetadata"]["Arn"],
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
