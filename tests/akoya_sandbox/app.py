"""An app as Akoya's documents want it, to drive the sandbox with over HTTP."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests

CLIENT_ID = "an-app"
CLIENT_SECRET = "its-secret"
REDIRECT_URI = "http://localhost:9/callback"
LAST_ACCESS = "2026-11-24T00:00:00Z"
STATE = "a-state-of-enough-characters"


def authorization_query(**changes: str | None) -> str:
    parameters: dict[str, str | None] = {
        "connector": "mikomo",
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT_URI,
        "response_type": "code",
        "scope": "openid profile offline_access",
        "state": STATE,
        **changes,
    }
    return urlencode({name: value for name, value in parameters.items() if value is not None})


def code_form(code: str, **changes: str | None) -> str:
    return _form(
        {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            **changes,
        }
    )


def refresh_form(refresh_token: str | None, **changes: str | None) -> str:
    return _form(
        {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            **changes,
        }
    )


def revoke_form(refresh_token: str | None, **changes: str | None) -> str:
    return _form(
        {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "token": refresh_token,
            "token_type_hint": "refresh_token",
            **changes,
        }
    )


def query_of(location: str) -> dict[str, str]:
    """Return the query of an address, each name once."""
    values = parse_qs(urlsplit(location).query, keep_blank_values=True, strict_parsing=True)
    assert all(len(value) == 1 for value in values.values())
    return {name: value[0] for name, value in values.items()}


@dataclass
class App:
    """The app's browser and backend in one; `issuer` is the sandbox's, with its slash."""

    issuer: str
    session: requests.Session = field(default_factory=requests.Session)

    def browse(self, path: str, **form: Any) -> requests.Response:
        """Open a page, or send its form, without following the way out."""
        method = "POST" if form else "GET"
        form.pop("_", None)
        return self.session.request(
            method, self.issuer + path, data=form, allow_redirects=False, timeout=10
        )

    def sign_in_page(self, **changes: str | None) -> str:
        """Begin an authorization; returns the path of the sign-in page."""
        answer = self.browse(f"auth?{authorization_query(**changes)}")
        assert answer.status_code == 302
        return answer.headers["Location"].lstrip("/")

    def consent_page(self, user_name: str = "mikomo_1", **changes: str | None) -> str:
        """Begin and sign in; returns the path of the consent page."""
        path = self.sign_in_page(**changes)
        answer = self.browse(f"{path}/sign-in", user_name=user_name, password=user_name)
        assert answer.status_code == 303
        return path

    def link(self, user_name: str = "mikomo_1", **changes: str | None) -> str:
        """Consent to every account; returns the code."""
        path = self.consent_page(user_name, **changes)
        accounts = re.findall(r'name="account"\s+value="([^"]+)"', self.browse(path).text)
        answer = self.browse(f"{path}/consent", decision="allow", account=accounts)
        assert answer.status_code == 302
        return query_of(answer.headers["Location"])["code"]

    def connect(self, user_name: str = "mikomo_1") -> dict[str, Any]:
        """Consent and obtain the first token set."""
        answer = self.post("token", code_form(self.link(user_name)), basic=True)
        assert answer.status_code == 200
        token_set: dict[str, Any] = answer.json()
        return token_set

    def post(self, path: str, form: str, *, basic: bool = False) -> requests.Response:
        """Send a form, with the app's credentials as Basic if asked."""
        return self.session.post(
            self.issuer + path,
            data=form,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            auth=(CLIENT_ID, CLIENT_SECRET) if basic else None,
            allow_redirects=False,
            timeout=10,
        )

    def streamed(self, path: str, form: str) -> requests.Response:
        """Send a form; returns with the headers, the body unread."""
        return self.session.post(
            self.issuer + path,
            data=form,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            stream=True,
            timeout=10,
        )

    def begun(self, path: str, form: str) -> socket.socket:
        """Send a form and return the connection at once; to close it is to hang up."""
        where = urlsplit(self.issuer)
        connection = socket.create_connection((str(where.hostname), int(where.port or 80)), 10)
        head = (
            f"POST /{path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: {len(form)}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
        )
        connection.sendall(head.encode() + form.encode())
        return connection

    def refresh(self, refresh_token: str | None, **changes: str | None) -> requests.Response:
        return self.post("token", refresh_form(refresh_token, **changes))

    def revoke(self, refresh_token: str | None, **changes: str | None) -> requests.Response:
        return self.post("revoke", revoke_form(refresh_token, **changes))

    def accounts(
        self, id_token: str, connector: str = "mikomo", **headers: str | None
    ) -> requests.Response:
        return self.data(id_token, f"accounts-info/v3/{connector}", **headers)

    def data(self, id_token: str, path: str, **headers: str | None) -> requests.Response:
        return self.session.get(
            self.issuer + path,
            headers={
                "Authorization": f"Bearer {id_token}",
                "x-akoya-interaction-type": "USER",
                "x-akoya-last-access": LAST_ACCESS,
                **headers,
            },
            timeout=10,
        )

    def admin(self, method: str, path: str, body: object = None) -> Any:
        answer = self.session.request(method, f"{self.issuer}admin/{path}", json=body, timeout=10)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None


def _form(fields: Mapping[str, str | None]) -> str:
    return urlencode({name: value for name, value in fields.items() if value is not None})
