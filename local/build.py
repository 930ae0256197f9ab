"""Build the stack for this machine with SAM: the shipped template, except Python and architecture.

Built once for each state of the sources; a build that exists is used again.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "local" / ".run"
EMBEDDED_PYTHON = ROOT / ".venv-aws" / "bin" / "python"  # the interpreter its functions run on
SAM = ROOT / ".venv-sam" / "bin" / "sam"
SHIPPED_PYTHON, SHIPPED_ARCHITECTURE = "python3.13", "arm64"


def local_template(text: str, *, python: str, architecture: str) -> str:
    """Return the template for another Python ("python3.12") and architecture, else unchanged."""
    return text.replace(SHIPPED_PYTHON, python).replace(SHIPPED_ARCHITECTURE, architecture)


def build() -> Path:
    """Build what is not built yet and return the folder; its template is `template.yaml`."""
    version = subprocess.check_output(
        [EMBEDDED_PYTHON, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"],
        text=True,
    ).strip()
    architecture = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
    text = (ROOT / "template.yaml").read_text()
    template = local_template(text, python=version, architecture=architecture)
    target = RUN / "build" / _state_of_sources(template)
    if not target.exists():
        shutil.rmtree(target.parent, ignore_errors=True)
        target.parent.mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            _sam_build(template, Path(work))
            _compile(Path(work) / "out")
            (Path(work) / "out").rename(target)
    return target


def _state_of_sources(template: str) -> str:
    digest = hashlib.sha256(template.encode())
    for folder in ("functions", "layers"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".txt"}:
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _sam_build(template: str, work: Path) -> None:
    """Run `sam build`; its paths are relative to the template, so that lies beside the sources."""
    (work / "template.yaml").write_text(template)
    for folder in ("functions", "layers"):
        (work / folder).symlink_to(ROOT / folder)
    subprocess.run(
        [SAM, "build", "--template", "template.yaml", "--build-dir", "out"],
        cwd=work,
        check=True,
        capture_output=True,
        env={
            "PATH": f"{EMBEDDED_PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(work),
            "SAM_CLI_TELEMETRY": "0",
            "AWS_DEFAULT_REGION": "us-east-1",
            **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
        },
    )


def _compile(built: Path) -> None:
    """Ship bytecode that is valid whatever the files' times: importing without costs seconds."""
    subprocess.run(
        [
            EMBEDDED_PYTHON,
            "-m",
            "compileall",
            "-q",
            "--invalidation-mode",
            "unchecked-hash",
            built,
        ],
        check=True,
    )
