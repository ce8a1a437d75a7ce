"""Texts that did not stand in the file themselves."""

from __future__ import annotations


class GivenText(str):
    """Came whole from an environment variable: it takes the type its setting asks for, there being no other way to write it."""

    __slots__ = ()


STAND_IN = "https://not-set.invalid:443"
"""What a variable that is not set stands for where a project is only looked at: an address that leads nowhere."""


class StandInText(str):
    """A whole value that is not known here: it takes the type and the bounds its setting asks for."""

    __slots__ = ()


class MissingText(str):
    """A reference that could not be resolved; its fault is recorded, so reading it adds none."""

    __slots__ = ()
