"""The same connections over TLS: negotiated as h2, answered, and ended without a loss."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hpack import Encoder
from tests.unit.runtime.http2.asking import BODY_SECONDS, FIELDS, HEADER_SECONDS, IDLE_SECONDS, Echo

from tidegate_runtime.handshakes import Handshakes
from tidegate_runtime.http2 import frames
from tidegate_runtime.http2.connection import Connection
from tidegate_runtime.http2.heads import Head
from tidegate_runtime.http2.port import Port
from tidegate_runtime.listening import Listener
from tidegate_runtime.request import Limits
from tidegate_runtime.tls import HTTP2, TlsFiles

CONTENT = bytes(range(256)) * 60
DEADLINE = 20


def pair(folder: Path) -> tuple[Path, Path]:
    """A certificate of its own authority, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("a")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    files = folder / "tls.crt", folder / "tls.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return files


async def frame_of(reader: asyncio.StreamReader, kind: int) -> bytes:
    """The payload of the next frame of a kind."""
    while True:
        high, low, found, _, _ = frames.HEADER.unpack(await reader.readexactly(9))
        payload = await reader.readexactly(high << 16 | low)
        if found == kind:
            return payload


async def ask_and_end(certificate: Path, key: Path) -> tuple[str | None, bytes, bytes]:
    """What was negotiated, an answer, and what is left when the server has ended the connection."""
    made: list[Connection] = []

    def begin(connection: Connection, number: int, head: Head) -> Echo:
        return Echo(connection, number, head, now=True)

    def opened(connection: Connection) -> bool:
        made.append(connection)
        return True

    port = Port(Limits(1 << 20, HEADER_SECONDS, BODY_SECONDS, IDLE_SECONDS), begin, opened, made.remove)
    tls = TlsFiles(certificate, key, None)
    shaking = Handshakes(lambda: Connection(port), tls, HTTP2, port.limits, room=lambda: True, changed=lambda: None)
    listener = Listener(lambda: Connection(port), shaking)
    number = await listener.start("127.0.0.1", 0)
    ours = ssl.create_default_context(cafile=str(certificate))
    ours.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", number, ssl=ours, server_hostname="a")
    writer.write(frames.PREFACE + frames.settings({}))
    writer.write(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, Encoder().encode(FIELDS)))
    writer.write(frames.frame(frames.DATA, frames.END_STREAM, 1, CONTENT))
    answer = await frame_of(reader, frames.DATA)
    await listener.stop()
    made[0].drain()
    writer.write(frames.frame(frames.PING, frames.ACK, 0, await frame_of(reader, frames.PING)))
    await frame_of(reader, frames.GOAWAY)
    rest = await reader.read()
    chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.close()
    return chosen, answer, rest


def test_a_call_over_tls_is_answered_and_its_connection_ends_in_order(tmp_path: Path) -> None:
    story = asyncio.wait_for(ask_and_end(*pair(tmp_path)), DEADLINE)
    assert uvloop.run(story) == ("h2", CONTENT, b"")
