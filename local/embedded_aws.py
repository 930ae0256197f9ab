"""The embedded AWS (ministack): loopback only, IAM enforced, nothing of this machine's settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local.build import EMBEDDED_PYTHON
from local.processes import start

REGION = "us-east-1"
ROOT_KEY = "test"  # its built-in root, id and secret alike


def start_embedded_aws(port: int, folder: Path) -> int:
    """Start it with a temporary folder of its own, which it never tidies; return its process."""
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return start(
        [EMBEDDED_PYTHON.parent / "ministack"],
        log=folder / "embedded-aws.log",
        port=port,
        environment={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(temporary),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "MINISTACK_REGION": REGION,
            "AUTH": "true",
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            # What its functions call; they inherit it.
            "AWS_ENDPOINT_URL": endpoint(port),
        },
    )


def endpoint(port: int) -> str:
    """Return the embedded AWS's address."""
    return f"http://127.0.0.1:{port}"


def client(service: str, port: int) -> Any:
    """Return a client of the embedded AWS with its root's rights."""
    return boto3.client(
        service,
        endpoint_url=endpoint(port),
        region_name=REGION,
        config=Config(retries={"total_max_attempts": 2}, read_timeout=120),
        aws_access_key_id=ROOT_KEY,
        aws_secret_access_key=ROOT_KEY,
    )
