"""What a function costs at its start, against the floor: what it stands on, and nothing of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ratios import Ratios
from tests.handlers.deployed import environment
from tests.tables import Aws

ROOT = Path(__file__).parents[1]
LAYER = ROOT / "layers" / "token_broker"
NO_AWS = Aws(dynamodb=None, s3=None, kms=None, secretsmanager=None, key_arn="arn:key")
ENVIRONMENT = environment(NO_AWS, "p") | {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "k",
    "AWS_SECRET_ACCESS_KEY": "s",
    "POWERTOOLS_SERVICE_NAME": "s",
    "POWERTOOLS_METRICS_NAMESPACE": "n",
}
BASE = "import boto3\nfrom aws_lambda_powertools import Logger, Metrics\nLogger(), Metrics()\n"
SEALS = "from cryptography.hazmat.primitives.ciphers.aead import AESGCM\n"
TABLE, KEY = "boto3.client('dynamodb')\n", "boto3.client('kms')\n"
# What every request of a function needs; what only some of them need is in neither side.
FLOOR = "its floor"
FLOORS = {
    "authorize": BASE + TABLE,
    "connections": BASE + TABLE,
    "token": BASE + SEALS + TABLE + KEY,
    "refresh": BASE + SEALS + TABLE + KEY,
    "callback": BASE + SEALS + "import requests\n" + TABLE + KEY,
}
PEAK = (
    "\nfrom pathlib import Path"
    "\nstatus = Path('/proc/self/status').read_text()"
    "\nprint(status.partition('VmHWM:')[2].split()[0])"
)


@dataclass(frozen=True)
class Start:
    """What one fresh process took: CPU in milliseconds, peak memory in MB."""

    cpu: float
    memory: float


def start(code: str, *folders: Path) -> Start:
    """Run code in a fresh interpreter that finds these folders."""
    process = subprocess.Popen(
        [sys.executable, "-c", code + PEAK],
        env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(map(str, folders))},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout  # noqa: S101 - it is a pipe
    peak = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"did not start: {code}")
    return Start(cpu=(usage.ru_utime + usage.ru_stime) * 1000, memory=int(peak) / 1024)


def turn() -> dict[str, tuple[Start, Start]]:
    """Start each function and its floor, one right after the other."""
    return {
        name: (start("import app", LAYER, ROOT / "functions" / name), start(floor))
        for name, floor in FLOORS.items()
    }


def ratios(turns: int) -> Ratios:
    """Return CPU and peak memory of each function's start against its floor's."""
    found: Ratios = defaultdict(list)
    turn()  # compiles what is not compiled yet
    for _ in range(turns):
        for name, (ours, floor) in turn().items():
            found[f"start of `{name}`, CPU", FLOOR].append(ours.cpu / floor.cpu)
            found[f"start of `{name}`, memory", FLOOR].append(ours.memory / floor.memory)
    return found
