"""What goes to the processes of a cluster, encrypted: parts carry addresses with their passwords, jobs the variables of declarations.

An envelope is nonce (12 bytes), ciphertext and tag (16 bytes) of AES-256-GCM (NIST SP 800-38D); what kind of thing it holds is bound to it.
Its key is in a variable of the engine's environment and of the cluster's Python processes: Spark carries envelopes through its files,
connections and logs, and never sees the key. On this machine the key is made for the time of the process, and inherited.
"""

from __future__ import annotations

import os
import pickle
import secrets
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from accord.engine.bulk.spark.session import SparkFault
from accord.errors import SettingsError
from accord.settings.secrets.keys import Key

KEY_VARIABLE = "ACCORD_SPARK_KEY"
_NONCE_SIZE_BYTES = 12
_MEND = (
    f"Make a key (python -c 'import secrets; print(secrets.token_urlsafe(32))') and set {KEY_VARIABLE} to it for the engine and for every"
    " worker (conf/spark-env.sh there, a secret of Kubernetes), not in `conf`."
)


class NoKey(SparkFault):
    """The key of envelopes is not there, or not the one of the engine."""

    code = "engine.spark-key"


def prepare_key(master: str) -> Key:
    """The engine's key; must be called before Java is started. Raises NoKey where other machines must have it and it is not told."""
    if master.startswith("local"):
        os.environ.setdefault(KEY_VARIABLE, Key.generate().reveal())
    return key_here("this engine")


def key_here(who: str) -> Key:
    """Raises NoKey."""
    text = os.environ.get(KEY_VARIABLE, "")
    if not text:
        raise NoKey(f"{KEY_VARIABLE} is not set for {who}.", mend=_MEND)
    try:
        return Key.parse(text, origin=f"The variable {KEY_VARIABLE}")
    except SettingsError as error:
        raise NoKey(f"{KEY_VARIABLE} of {who} holds no key.", mend=_MEND) from error


def sealed(key: Key, kind: str, content: Any) -> bytes:
    nonce = secrets.token_bytes(_NONCE_SIZE_BYTES)
    plain = pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    return nonce + AESGCM(key.raw()).encrypt(nonce, plain, _bound_to(kind))


def opened(key: Key, kind: str, envelope: bytes) -> Any:
    """Raises NoKey when it was sealed with another key, or as something else."""
    nonce, ciphertext = envelope[:_NONCE_SIZE_BYTES], envelope[_NONCE_SIZE_BYTES:]
    try:
        plain = AESGCM(key.raw()).decrypt(nonce, ciphertext, _bound_to(kind))
    except (InvalidTag, ValueError):  # ValueError: too short for a nonce
        what = f"{KEY_VARIABLE} of a worker is not that of the engine (there: {key.id})."
        raise NoKey(what, mend=_MEND) from None
    return pickle.loads(plain)  # noqa: S301 - authenticated: whoever has the key has made it


def _bound_to(kind: str) -> bytes:
    return f"accord-spark/1/{kind}".encode()
