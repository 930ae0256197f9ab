"""The operator at a terminal: the real commands, with the rights of the operator's policy alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.build import ROOT


def operate(
    stack: Mapping[str, Any], *command: str, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run one of the operator's commands on a local stack, `text` on its standard input."""
    key = json.loads(Path(stack["operator_credentials_file"]).read_text())
    return subprocess.run(
        [sys.executable, "-m", "operations", "--stack-name", stack["stack_name"], *command],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "layers" / "token_broker"),
            "AWS_ENDPOINT_URL": stack["aws_endpoint_url"],
            "AWS_DEFAULT_REGION": stack["region"],
            "AWS_ACCESS_KEY_ID": key["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": key["aws_secret_access_key"],
        },
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
