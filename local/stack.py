"""The whole product on one machine: build, embedded AWS, deploy, identity provider, front end."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from local import deploy, processes
from local.build import ROOT, RUN, build
from local.embedded_aws import REGION, endpoint, start_embedded_aws

Say = Callable[[str], None]
IMPORTED_FROM = ("", "layers/token_broker", "clients/python/src")
SANDBOX_CLIENT_ID = "3f1c1a52-7c0e-4d3b-9a52-akoya-sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Four loopback ports in a row, so that a stack's addresses are the same on every start."""

    base: int

    @property
    def demo(self) -> int:
        """The demo front end."""
        return self.base

    @property
    def public(self) -> int:
        """The broker's public address."""
        return self.base + 1

    @property
    def sandbox(self) -> int:
        """The Akoya sandbox."""
        return self.base + 2

    @property
    def aws(self) -> int:
        """The embedded AWS."""
        return self.base + 3


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityProvider:
    """Whom the broker talks to: the sandbox of this repository, or the one named outside."""

    url: str
    client_id: str
    client_secret: str
    connector: str
    is_ours: bool

    @classmethod
    def chosen(cls, environ: Mapping[str, str], ports: Ports) -> IdentityProvider:
        """Read AKOYA_IDP_URL, AKOYA_CLIENT_ID, AKOYA_CLIENT_SECRET and AKOYA_CONNECTOR."""
        url = environ.get("AKOYA_IDP_URL")
        if url and not (environ.get("AKOYA_CLIENT_ID") and environ.get("AKOYA_CLIENT_SECRET")):
            raise processes.NotStartedError(
                "AKOYA_IDP_URL needs AKOYA_CLIENT_ID and AKOYA_CLIENT_SECRET beside it"
            )
        return cls(
            url=(url or f"http://localhost:{ports.sandbox}").rstrip("/"),
            client_id=environ.get("AKOYA_CLIENT_ID") or SANDBOX_CLIENT_ID,
            client_secret=environ.get("AKOYA_CLIENT_SECRET") or secrets.token_urlsafe(24),
            connector=environ.get("AKOYA_CONNECTOR") or "mikomo",
            is_ours=not url,
        )


# The demo's backend connects, calls and disconnects; a larger one gives each to a role of its own.
USERS = {
    "backend": ("LinkPolicyArn", "BearerPolicyArn", "EndPolicyArn"),
    "operator": ("OperatorPolicyArn",),
}


class Stack:
    """One stack, by name; several may run side by side on ports of their own."""

    def __init__(self, name: str, base: int) -> None:
        self.folder = RUN / name
        self.ports = Ports(base=base)

    @property
    def description(self) -> Path:
        """The file that names every address, table, bucket and function."""
        return self.folder / "stack.json"

    def start(
        self,
        environ: Mapping[str, str],
        *,
        say: Say = print,
        with_demo: bool = True,
        parameters: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Start everything and return the description; ends what it began if a part fails."""
        provider = IdentityProvider.chosen(environ, self.ports)
        if self.description.exists():
            self.stop()
        self._ensure_ports_free()
        say("building …")
        built = build()
        self.folder.mkdir(parents=True, exist_ok=True)
        pids: list[int] = []
        try:
            say("starting the embedded AWS …")
            pids.append(start_embedded_aws(self.ports.aws, self.folder))
            say("deploying the template …")
            description = self._deploy(built, provider, parameters or {})
            self._write(description, pids)
            say("starting the front end …")
            api_url = description["api_url"]
            pids.append(self._run("local.public_address", self.ports.public, "--api", api_url))
            if provider.is_ours:
                pids.append(self._run_sandbox(provider))
            if with_demo:
                stack = str(self.description)
                pids.append(self._run("local.demo", self.ports.demo, "--stack", stack))
            self._write(description, pids)
        except BaseException:
            processes.end(pids)
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return description

    def stop(self) -> None:
        """End everything and leave nothing behind."""
        if self.description.exists():
            pids = json.loads(self.description.read_text())["pids"]
            processes.end([pid for pid in pids if processes.ours(pid, ROOT)])
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ensure_ports_free(self) -> None:
        for name in ("demo", "public", "sandbox", "aws"):
            processes.ensure_free(getattr(self.ports, name), name)

    def _deploy(
        self, built: Path, provider: IdentityProvider, parameters: Mapping[str, str]
    ) -> dict[str, Any]:
        """Deploy, fill the secret, create the backend's user; return what there is."""
        ports = self.ports
        outputs = deploy.deploy(
            built,
            ports.aws,
            {
                "ClientId": provider.client_id,
                "PublicBaseUrl": f"http://localhost:{ports.public}",
                "ReturnToAllowList": f"http://localhost:{ports.demo}/",
                "IdentityProviderUrl": provider.url,
                "IdentityProviderAllowedHosts": urlsplit(provider.url).hostname or "",
                "EmbeddedAws": "true",
                "IdTokenVerification": "strict" if provider.is_ours else "warn",
            }
            | dict(parameters),
        )
        deploy.put_client_secret(
            outputs,
            ports.aws,
            client_id=provider.client_id,
            client_secret=provider.client_secret,
        )
        credentials = {
            name: self._create_user(name, [outputs[policy] for policy in policies])
            for name, policies in USERS.items()
        }
        return self._description(outputs, provider, credentials)

    def _create_user(self, name: str, policy_arns: Collection[str]) -> Path:
        file = self.folder / f"{name}-credentials.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(deploy.create_user(name, policy_arns, self.ports.aws)))
        return file

    def _description(
        self,
        outputs: Mapping[str, str],
        provider: IdentityProvider,
        credentials: Mapping[str, Path],
    ) -> dict[str, Any]:
        ports = self.ports
        return {
            "stack_name": deploy.STACK,
            "region": REGION,
            "demo_url": f"http://localhost:{ports.demo}",
            "public_base_url": f"http://localhost:{ports.public}",
            "callback_url": outputs["CallbackUrl"],
            "api_url": f"{endpoint(ports.aws)}/restapis/{outputs['ApiId']}/v1/_user_request_",
            "aws_endpoint_url": endpoint(ports.aws),
            "backend_credentials_file": str(credentials["backend"]),
            "operator_credentials_file": str(credentials["operator"]),
            "identity_provider": {
                "url": provider.url,
                "client_id": provider.client_id,
                "connector": provider.connector,
                "is_sandbox": provider.is_ours,
            },
            "tables": {
                "connections": outputs["ConnectionsTableName"],
                "authorizations": outputs["AuthorizationsTableName"],
                "control": outputs["ControlTableName"],
            },
            "escrow_bucket": outputs["EscrowBucketName"],
            "token_key_arn": outputs["TokenKeyArn"],
            "client_secret_id": outputs["ClientSecretId"],
            "functions": {
                name.removesuffix("FunctionName").lower(): value
                for name, value in outputs.items()
                if name.endswith("FunctionName")
            },
        }

    def _write(self, description: Mapping[str, Any], pids: list[int]) -> None:
        self.description.write_text(json.dumps({**description, "pids": pids}, indent=2) + "\n")

    def _run(
        self, module: str, port: int, *arguments: str, extra: Mapping[str, str] | None = None
    ) -> int:
        return processes.start(
            [sys.executable, "-m", module, "--port", str(port), *arguments],
            log=self.folder / f"{module.rpartition('.')[2]}.log",
            port=port,
            environment={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(
                    str(ROOT / folder)
                    for folder in ("", "layers/token_broker", "clients/python/src")
                ),
                **(extra or {}),
            },
        )

    def _run_sandbox(self, provider: IdentityProvider) -> int:
        return self._run(
            "local.akoya_sandbox",
            self.ports.sandbox,
            "--client-id",
            provider.client_id,
            "--redirect-uri",
            f"http://localhost:{self.ports.public}/callback",
            extra={"AKOYA_CLIENT_SECRET": provider.client_secret},
        )
