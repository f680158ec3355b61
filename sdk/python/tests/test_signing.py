"""Signing, judged by the real server where that is possible."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from live import Server

from notiflux import Client, NotifluxError, Signer, TokenRequest


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def openssl(*arguments: str) -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


KEYS = {
    "SEC 1": (["ecparam", "-name", "prime256v1", "-genkey", "-noout"], "ES256"),
    "SEC 1 with parameters": (["ecparam", "-name", "prime256v1", "-genkey"], "ES256"),
    "PKCS#8": (["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "ES256"),
    "Ed25519": (["genpkey", "-algorithm", "ED25519"], "EdDSA"),
    "RSA": (["genrsa", "2048"], "RS256"),
}


@pytest.mark.parametrize("name", KEYS)
def test_the_server_accepts_each_kind_of_key(
    name: str, program: Path, tmp_path: Path, topic: str
) -> None:
    arguments, algorithm = KEYS[name]
    pem = openssl(*arguments)
    (tmp_path / "private.pem").write_bytes(pem)
    public = openssl("pkey", "-in", str(tmp_path / "private.pem"), "-pubout")
    (tmp_path / "es256_public.pem").write_bytes(public)
    signer = Signer(pem)
    assert signer.algorithm == algorithm
    server = Server(program, tmp_path)
    try:
        with Client(server.url, token=signer.token_function("test")) as client:
            client.publish(topic, "hello")
            assert len(client.history(topic).messages) == 1
    finally:
        server.stop()


def test_claims(signer: Signer) -> None:
    until = datetime(2030, 1, 1, tzinfo=timezone.utc)
    token = signer.sign(
        "ann",
        ["a", "b"],
        scope=["subscribe", "broadcast"],
        until=until,
        info={"name": "Änn"},
        jti="7f3a",
    )
    found = claims(token)
    assert found.pop("exp") - found.pop("iat") == 3600
    assert found == {
        "sub": "ann",
        "scope": "subscribe broadcast",
        "topics": ["a", "b"],
        "until": 1893456000.0,
        "info": {"name": "Änn"},
        "jti": "7f3a",
    }


def test_rights(signer: Signer, server: Server, topic: str) -> None:
    token = signer.sign(
        "ann", subscribe={"patterns": [topic + "*"]}, broadcast={"topics": [topic], "patterns": []}
    )
    found = claims(token)
    assert not {"scope", "topics"} & found.keys()
    assert found["subscribe"] == {"patterns": [topic + "*"]}
    assert found["broadcast"] == {"topics": [topic]}
    with Client(server.url, token=token) as client:
        client.publish(topic, "hello")
        assert client.history(topic + "2").messages == []
        with pytest.raises(NotifluxError) as caught:
            client.publish(topic + "2", "hello")
        assert caught.value.code == "topic_denied"
    back_end = signer.sign("back end", patterns=["*"], scope="broadcast")
    with Client(server.url, token=back_end) as client:
        client.publish(topic + "2", "hello")


def test_the_server_reads_the_claims(signer: Signer, server: Server, topic: str) -> None:
    until = datetime.now(timezone.utc) - timedelta(seconds=1)
    token = signer.sign("ann", topic, until=until)
    with Client(server.url, token=token) as client:
        with pytest.raises(NotifluxError) as caught:
            client.history(topic)
        assert caught.value.code == "token_expired"


def test_a_name_of_the_key(keys: Path) -> None:
    signer = Signer((keys / "es256_private.pem").read_text(), kid="2026")
    header = json.loads(base64.urlsafe_b64decode(signer.sign("a", "b").split(".")[0] + "=="))
    assert header == {"alg": "ES256", "typ": "JWT", "kid": "2026"}


def test_the_server_reads_issuer_and_audience(
    program: Path, keys: Path, signer: Signer, topic: str
) -> None:
    pem = (keys / "es256_private.pem").read_bytes()
    named = Signer(pem, iss="https://shop.example", aud="notiflux")
    server = Server(program, keys, "--jwt-issuer=https://shop.example", "--jwt-audience=notiflux")
    try:
        with Client(server.url, token=named.token_function("test")) as client:
            client.publish(topic, "hello")
        for wrong in (signer, Signer(pem, iss="https://shop.example"), Signer(pem, aud="notiflux")):
            with Client(server.url, token=wrong.sign("test", topic)) as client:
                with pytest.raises(NotifluxError) as caught:
                    client.history(topic)
                assert caught.value.code == "token_invalid"
    finally:
        server.stop()


def test_a_token_function(signer: Signer) -> None:
    function = signer.token_function("back end", lifetime=60)
    assert claims(function(TokenRequest("subscribe", (), None, ("a*",))))["patterns"] == ["a*"]
    token = function(TokenRequest("broadcast", ("a", "b")))
    found = claims(token)
    assert (found["sub"], found["scope"], found["topics"]) == ("back end", "broadcast", ["a", "b"])
    assert found["exp"] - found["iat"] == 60


@pytest.mark.parametrize(
    "arguments",
    [
        ["ecparam", "-name", "secp384r1", "-genkey", "-noout"],
        ["genrsa", "-traditional", "1024"],
        ["genpkey", "-algorithm", "X25519"],
    ],
)
def test_keys_that_the_server_does_not_know(arguments: list[str]) -> None:
    with pytest.raises(ValueError, match="P-256"):
        Signer(openssl(*arguments))


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN PRIVATE KEY-----"])
def test_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="openssl ecparam"):
        Signer(text)


def test_an_encrypted_key() -> None:
    pem = openssl("genpkey", "-algorithm", "ED25519", "-aes256", "-pass", "pass:secret")
    with pytest.raises(ValueError, match="unencrypted"):
        Signer(pem)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda signer: signer.sign("a", []), "at least one"),
        (lambda signer: signer.sign("a", [f"topic {n}" for n in range(900)]), "name fewer topics"),
        (lambda signer: signer.sign("a", broadcast={"topics": []}), "at least one"),
        (lambda signer: signer.sign("a", patterns=["b"]), "does not end with"),
        (lambda signer: signer.sign("a", patterns="b*"), "a list of texts"),
        (lambda signer: signer.sign("a", subscribe={"topic": ["b"]}), "name topics, patterns"),
        (lambda signer: signer.sign("a", "b", until=datetime(2030, 1, 1)), "time zone"),
        (lambda signer: signer.sign("a", "b", info={"n": float("nan")}), "JSON"),
        (lambda signer: signer.sign("a", "b", jti=""), "jti is empty"),
    ],
)
def test_bad_claims(signer: Signer, make: Callable[[Signer], str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make(signer)


@pytest.mark.parametrize("option", ["iss", "aud"])
@pytest.mark.parametrize("wrong", ["", 5, b"x"])
def test_bad_options(keys: Path, option: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=option + " is"):
        Signer((keys / "es256_private.pem").read_bytes(), **{option: wrong})


def test_the_key_is_not_printed(signer: Signer) -> None:
    assert repr(signer) == "<notiflux.Signer ES256>"
