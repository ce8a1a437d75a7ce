"""Exact decimal arithmetic: sums, differences and products never round; quotients have 28 significant digits."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Final

from accord.mapping.functions.signature import Rejected

DIGITS_MAX = 200  # digits an exact result may need before it is refused
EXPONENT_MAX = 100  # numbers are between 1e-100 and 1e100, so that writing one out is always cheap

_TRAPS = [decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow]
EXACT: Final = decimal.Context(prec=DIGITS_MAX, Emax=999, Emin=-999, traps=[*_TRAPS, decimal.Inexact])
QUOTIENT: Final = decimal.Context(prec=28, Emax=999, Emin=-999, rounding=decimal.ROUND_HALF_EVEN, traps=_TRAPS)


def is_usable(value: Decimal) -> bool:
    """Finite and of a size that cannot be used to exhaust memory."""
    return value.is_finite() and -EXPONENT_MAX <= value.adjusted() <= EXPONENT_MAX


def read_decimal(text: str) -> Decimal:
    """Digits to a decimal. Raises Rejected for what is no number, not finite or absurdly large or small."""
    try:
        value = Decimal(text)
    except decimal.InvalidOperation:
        raise Rejected("this is not a decimal number", text) from None
    if not is_usable(value):
        raise Rejected(f"a decimal must be finite and between 1e-{EXPONENT_MAX} and 1e{EXPONENT_MAX}", text)
    return value


def exact_number(text: str) -> Decimal:
    """A JSON number with a point or exponent, for json fields. Raises ValueError when it is absurdly large or small."""
    value = Decimal(text)
    if not is_usable(value):
        raise ValueError("number out of range")
    return value


def plain(value: Decimal) -> str:
    """The digits without an exponent: 1E+2 is '100'."""
    return format(value, "f")
