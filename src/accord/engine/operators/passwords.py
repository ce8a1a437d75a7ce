"""Password hashes: scrypt (RFC 7914) as text ``scrypt:N:r:p:salt:hash``, salt and hash in Base64."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

# 32 MB and about 0.2 s of one core a guess: a listed parameter set of the OWASP Password Storage Cheat Sheet.
COST, BLOCK_SIZE, PARALLELISM = 2**15, 8, 3
COST_MAX = 2**20  # of a declared hash: 1 GB
SALT_BYTES, HASH_BYTES = 16, 32
MEMORY_BYTES_MAX = 1_100_000_000


def hash_password(password: str) -> str:
    """Takes about 0.2 s and 32 MB."""
    salt = secrets.token_bytes(SALT_BYTES)
    found = _derived(password, salt, COST, BLOCK_SIZE, PARALLELISM)
    return ":".join(["scrypt", *map(str, (COST, BLOCK_SIZE, PARALLELISM)), _text(salt), _text(found)])


def is_password(password: str, hashed: str) -> bool:
    """Raises ValueError when ``hashed`` is none that ``hash_password`` makes."""
    kind, *rest = hashed.strip().split(":")
    try:
        cost, block_size, parallelism = (int(number) for number in rest[:3])
        salt, expected = (base64.b64decode(part, validate=True) for part in rest[3:])
        if kind != "scrypt" or not expected or not 1 < cost <= COST_MAX or not 0 < block_size * parallelism <= 64:
            raise ValueError
        return hmac.compare_digest(_derived(password, salt, cost, block_size, parallelism), expected)
    except (ValueError, binascii.Error) as error:
        raise ValueError("a password hash is text as `accord monitor hash-password` prints it") from error


def _derived(password: str, salt: bytes, cost: int, block_size: int, parallelism: int) -> bytes:
    return hashlib.scrypt(
        password.encode(),
        salt=salt,
        n=cost,
        r=block_size,
        p=parallelism,
        maxmem=MEMORY_BYTES_MAX,
        dklen=HASH_BYTES,
    )


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
