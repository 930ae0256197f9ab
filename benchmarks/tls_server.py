"""An Akoya behind TLS on this machine: a certificate of its own, one rotation for each refresh."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import socketserver
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local.akoya_sandbox.id_tokens import shared_signing_key

CLIENT_ID = "c"
LIFE = 3_600
ROTATION = {"refresh_token": "r" * 90, "id_token": "i" * 900, "expires_in": LIFE}


@dataclass(frozen=True)
class Served:
    """Where the server is, and the trust store that vouches for it: certifi's, and its own."""

    address: str
    trust_store: Path
    connections: list[object]
    requests: list[bytes]  # their heads
    answers: dict[str, object] = field(default_factory=dict)  # by path; elsewhere a rotation


def certified(folder: Path, host: str) -> tuple[Path, Path]:
    """Make a certificate for a host, signed by its own key; return it with its key, and alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    both, alone = folder / "both.pem", folder / "certificate.pem"
    both.write_bytes(secret + certificate)
    alone.write_bytes(certificate)
    return both, alone


@contextmanager
def serving(host: str = "127.0.0.1") -> Iterator[Served]:
    """Serve rotations on the loopback address, with a certificate for `host`."""
    connections: list[object] = []
    requests: list[bytes] = []
    answers: dict[str, object] = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        both, alone = certified(folder, host)
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust.load_cert_chain(both)
        store = folder / "trust.pem"
        store.write_bytes(Path(certifi.where()).read_bytes() + alone.read_bytes())

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                connections.append(self.client_address)
                with suppress(OSError), trust.wrap_socket(self.request, server_side=True) as tls:
                    while head := _request(tls):
                        requests.append(head)
                        path = head.split(b" ", 2)[1].decode()
                        tls.sendall(_response(answers.get(path, ROTATION)))
                        if b"connection: close" in head.lower():
                            return

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.05,)).start()
            address = f"https://127.0.0.1:{server.server_address[1]}"
            try:
                yield Served(address, store, connections, requests, answers)
            finally:
                server.shutdown()


def _request(tls: ssl.SSLSocket) -> bytes:
    """Read one request; return its head, or nothing where the client is done."""
    read = b""
    while b"\r\n\r\n" not in read:
        if not (more := tls.recv(65_536)):
            return b""
        read += more
    head, _, body = read.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
    while len(body) < length:
        body += tls.recv(65_536)
    return head


def _response(content: object) -> bytes:
    body = json.dumps(content)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


def sign(served: Served) -> None:
    """Let the rotations carry an id_token that verifies, and serve what it verifies with."""
    key, now = shared_signing_key(), int(dt.datetime.now(dt.UTC).timestamp())
    of = {"iss": served.address, "sub": "one", "aud": CLIENT_ID, "iat": now, "exp": now + LIFE}
    served.answers["/.well-known/openid-configuration"] = {
        "issuer": served.address,
        "jwks_uri": f"{served.address}/keys",
    }
    served.answers["/keys"] = {"keys": [dict(key.jwk)]}
    served.answers["/token"] = {**ROTATION, "id_token": key.sign(of)}


if __name__ == "__main__":
    with serving() as served:
        sign(served)
        print(json.dumps([served.address, str(served.trust_store)]), flush=True)
        sys.stdin.read()  # until the benchmark is done
