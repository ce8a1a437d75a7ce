"""Declared answers of systems for a flow's tests: by step path, ``as`` name or target.

Written as ``answers: {target or path: answer}`` where an answer is the result itself, or one of
``{result: …}``, ``{reject: reason, path: field}``, ``{fail: n, then: answer}``; a list gives them one after another and the last
one stays. Paths may leave the index of a split open: ``2.split[].0.call``.
"""

from __future__ import annotations

import re

import msgspec

from accord.errors import Faults, did_you_mean
from accord.flow.commands import Call, ErrorPolicy, Fetch, Write
from accord.record import Done, Reject
from accord.settings.node import Node

_INDEX = re.compile(r"\[[0-9]+\]")
_SPECIAL = ("result", "reject", "fail", "then", "path", "code")


class NoAnswer(Exception):
    """The flow asked for something a test must declare."""


class Exhausted(msgspec.Struct, frozen=True):
    """The system failed more often than the policy tries."""

    reason: str


class Answers:
    """Answers in the order they are used; ``unused`` names those no command asked for."""

    def __init__(self, node: Node | None, faults: Faults, names: dict[str, str] | None = None) -> None:
        self._by_key: dict[str, list[Node]] = {}
        self._used: set[str] = set()
        self._names = names or {}  # static path → as name
        for key, value in node.items() if node is not None else ():
            self._by_key[key] = value.elements() if value.is_list else [value]
            for each in self._by_key[key]:
                _check(each, faults)
        if node is not None and not node.is_map and node.value is not None:
            faults.add("flow.bad-test", node.place, f"'answers' must be a mapping, and this is {node.describe()}.")

    @property
    def unused(self) -> list[str]:
        return sorted(set(self._by_key) - self._used)

    def of(self, command: Write | Call | Fetch, policy: ErrorPolicy) -> Done | Reject | Exhausted:
        """The answer to a command. Raises NoAnswer when one must be declared and is not."""
        static = _INDEX.sub("[]", command.path)
        target = f"{command.system}.{command.operation}" if isinstance(command, Call) else command.entity
        for key in (command.path, static, self._names.get(static, ""), target):
            if key in self._by_key:
                self._used.add(key)
                answers = self._by_key[key]
                node = answers.pop(0) if len(answers) > 1 else answers[0]
                return _answer(node, policy)
        if isinstance(command, Write):
            return Done(command.record)
        if isinstance(command, Call) and not command.is_read_only:
            return Done(None)
        mend = did_you_mean(target, self._by_key) if self._by_key else ""
        raise NoAnswer(f"The test declares no answer for '{target}' (step {command.path}). {mend}".strip())


def _check(node: Node, faults: Faults) -> None:
    if not _is_special(node):
        return
    for key, value in node.items():
        if key not in _SPECIAL:
            faults.add(
                "flow.bad-test", node.place_of(key), f"An answer has no key '{key}'.", did_you_mean(key, _SPECIAL)
            )
        elif key == "fail" and not (isinstance(value.value, int) and value.value is not True and value.value >= 1):
            faults.add(
                "flow.bad-test", value.place, f"'fail' is how often, and this is {value.describe()}.", "Write fail: 2."
            )


def _is_special(node: Node) -> bool:
    return any(key in ("result", "reject", "fail") for key, _ in node.items())


def _answer(node: Node, policy: ErrorPolicy) -> Done | Reject | Exhausted:
    if not _is_special(node):
        return Done(node.plain())
    plain = node.plain()
    if "reject" in plain:
        return Reject(str(plain["reject"]), str(plain.get("path", "")), str(plain.get("code", "connector.rejected")))
    if "fail" in plain:
        if plain["fail"] >= policy.attempts:
            return Exhausted(f"failed {plain['fail']} times, and the policy tries {policy.attempts} times")
        then = node.get("then")
        return Done(None) if then is None else _answer(then, policy)
    return Done(plain["result"])
