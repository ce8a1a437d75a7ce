"""Genuine or forged."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.sdk import webhooks as w
from accord.sdk.http import InboundRequest
from accord.settings.secret import Secret

NOW = dt.datetime(2026, 11, 1, 12, 0, tzinfo=dt.UTC)
STAMP = str(int(NOW.timestamp()))
BODY = '{"name": "Ünïcode"}'.encode()


def request(body: bytes = BODY, **headers: str) -> InboundRequest:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return InboundRequest(method="POST", path="/in/x", headers=told, body=body)


def verify(scheme: Any, asked: InboundRequest) -> str:
    return w.verifier(scheme, now=lambda: NOW)(asked)


def digest(message: bytes, algorithm: str = "sha256", encoding: str = "hex", secret: bytes = b"k") -> str:
    raw = hmac.new(secret, message, getattr(hashlib, algorithm)).digest()
    return raw.hex() if encoding == "hex" else base64.b64encode(raw).decode()


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_hmac(algorithm: Any, encoding: Any) -> None:
    scheme = w.HmacSignature(header="X-Sig", secret=Secret("k"), algorithm=algorithm, encoding=encoding, prefix="sig=")
    genuine = "sig=" + digest(BODY, algorithm, encoding)
    assert verify(scheme, request(x_sig=genuine)) == ""
    assert verify(scheme, request(BODY + b" ", x_sig=genuine))
    assert verify(scheme, request(x_sig=genuine.removeprefix("sig=")))
    assert verify(scheme, request(x_sig="sig="))
    assert verify(scheme, request(x_sig="sig=é"))
    assert verify(scheme, request())


def test_an_old_secret_is_taken_while_it_is_changed() -> None:
    scheme = w.HmacSignature(header="s", secret=Secret("new"), previous_secret=Secret("k"))
    assert verify(scheme, request(s=digest(BODY))) == ""
    assert verify(scheme, request(s=digest(BODY, secret=b"new"))) == ""
    assert verify(scheme, request(s=digest(BODY, secret=b"other")))


@pytest.mark.parametrize(("age_s", "is_genuine"), [(0, True), (299, True), (-299, True), (301, False), (-301, False)])
def test_signed_time(age_s: int, is_genuine: bool) -> None:
    scheme = w.HmacSignature(header="s", secret=Secret("k"), signs="v0:{timestamp}:{body}", timestamp_header="t")
    stamp = str(int(NOW.timestamp()) - age_s)
    signature = digest(f"v0:{stamp}:".encode() + BODY)
    assert (verify(scheme, request(s=signature, t=stamp)) == "") is is_genuine
    assert verify(scheme, request(s=signature, t=str(int(stamp) + 1)))
    assert verify(scheme, request(s=signature))
    assert verify(scheme, request(s=signature, t="²"))


def test_time_and_signatures_in_one_header() -> None:
    scheme = w.TimestampedSignature(header="Stripe-Signature", secret=Secret("k"))
    good = digest(f"{STAMP}.".encode() + BODY)
    assert verify(scheme, request(stripe_signature=f"t={STAMP},v1={'0' * 64},v1={good}")) == ""
    assert verify(scheme, request(stripe_signature=f"t={STAMP},v0={good}"))
    assert verify(scheme, request(stripe_signature=f"t={int(STAMP) - 999},v1={good}"))
    assert verify(scheme, request(stripe_signature="nonsense"))
    assert verify(scheme, request())


def test_shared_token_and_basic() -> None:
    token = w.TokenSignature(header="X-Token", token=Secret("t"), prefix="Bearer ")
    assert verify(token, request(x_token="Bearer t")) == ""
    assert verify(token, request(x_token="Bearer ü"))
    basic = w.BasicSignature(user="u", password=Secret("p"))
    assert verify(basic, request(authorization="Basic " + base64.b64encode(b"u:p").decode())) == ""
    assert verify(basic, request(authorization="Basic dTpx"))
    assert verify(w.NoSignature(), request()) == ""


@pytest.mark.parametrize("changes", [{"signs": "{timestamp}"}, {"signs": "{bodi}{body}"}, {"timestamp_header": "t"}])
def test_schemes_that_prove_nothing_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"`signs`|`timestamp_header`"):
        w.HmacSignature(header="s", secret=Secret("k"), **changes)


@given(st.text(max_size=100), st.text(max_size=20))
def test_no_header_value_is_an_exception(value: str, stamp: str) -> None:
    schemes = [
        w.HmacSignature(header="s", secret=Secret("k")),
        w.HmacSignature(header="s", secret=Secret("k"), encoding="base64"),
        w.HmacSignature(header="s", secret=Secret("k"), signs="{timestamp}{body}", timestamp_header="t"),
        w.TimestampedSignature(header="s", secret=Secret("k")),
        w.TokenSignature(header="s", token=Secret("a-long-token-nobody-guesses")),
    ]
    for scheme in schemes:
        assert verify(scheme, request(s=value, t=stamp))
        assert verify(scheme, request(s=f"t={stamp},v1={value}"))
