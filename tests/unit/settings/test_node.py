"""YAML to nodes: YAML 1.2 scalars, places, and bounds that hold against any text."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import Faults
from accord.settings.node import DEPTH_MAX, YAML_SIZE_BYTES_MAX, Node, parse_yaml, read_yaml


def parsed(text: str) -> tuple[Node | None, list[str]]:
    faults = Faults()
    node = parse_yaml(text, "x.yaml", faults)
    return node, [fault.code for fault in faults.found]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("on", "on"),
        ("NO", "NO"),
        ("yes", "yes"),
        ("true", True),
        ("~", None),
        ("", None),
        ("7", 7),
        ("-7", -7),
        ("1.50", Decimal("1.50")),
        ("1e3", Decimal("1e3")),
        ("0.1", Decimal("0.1")),
        ("2024-01-01", "2024-01-01"),
        ("12:30", "12:30"),
        ("'7'", "7"),
        ("!!str 7", "7"),
        ("1e99999999999999999999", "1e99999999999999999999"),
        ("9" * 401, "9" * 401),
        (".nan", ".nan"),
        ("0x1F", "0x1F"),
    ],
)
def test_scalars(written: str, value: object) -> None:
    node, codes = parsed(f"a: {written}\n")
    assert node is not None and codes == []
    found = node.get("a")
    assert found is not None and found.value == value and type(found.value) is type(value)


def test_every_value_and_key_knows_its_line() -> None:
    node, _ = parsed("on:\n  webhook: shop.orders\nsteps:\n  - a\n  - b: 1\n")
    assert node is not None
    steps = node.get("steps")
    assert steps is not None and [child.place.line for child in steps.elements()] == [4, 5]
    assert node.place_of("steps").line == 3 and node.place_of("on").file == "x.yaml"


def test_a_repeated_key_names_both_lines() -> None:
    faults = Faults()
    parse_yaml("a: 1\nb: 2\na: 3\n", "x.yaml", faults)
    assert [(f.code, f.place.line) for f in faults.found] == [("settings.duplicate-key", 3)]
    assert "line 1" in faults.found[0].what


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: [1", "settings.yaml"),
        ("a: 1\n---\nb: 2", "settings.yaml"),
        ("a: \x00", "settings.yaml"),
        ("a: !!python/object:os.system x", "settings.yaml"),
        ("? [1]\n: 2", "settings.yaml"),
        ("a: *nothing", "settings.yaml"),
        ("&a [*a, *a]", "settings.yaml"),
        ("[" * 200_000, "settings.too-deep"),
        ("{a: " * 100, "settings.too-deep"),
        ("- " * 5_000, "settings.too-deep"),
    ],
    ids=lambda text: text[:20],
)
def test_what_cannot_be_read_is_a_fault(text: str, code: str) -> None:
    _, codes = parsed(text)
    assert code in codes


def test_repeated_aliases_cannot_grow_without_bound() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    node, codes = parsed("\n".join(lines))
    assert node is None and codes == ["settings.too-large"]


def test_aliases_cannot_nest_deeper_than_the_bound() -> None:
    deep = "[" * (DEPTH_MAX - 5) + "]" * (DEPTH_MAX - 5)
    node, codes = parsed(f"a: &a {deep}\nb: &b [[[[[[[[*a]]]]]]]]\n")
    assert node is None and codes == ["settings.too-deep"]


def test_an_alias_stands_for_its_value() -> None:
    node, codes = parsed("a: &x {k: 1}\nb: *x\n")
    assert node is not None and codes == [] and node.plain() == {"a": {"k": 1}, "b": {"k": 1}}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    faults = Faults()
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    (tmp_path / "large.yaml").write_bytes(b"#" * (YAML_SIZE_BYTES_MAX + 1))
    for name in ("latin.yaml", "large.yaml", "absent.yaml"):
        assert read_yaml(tmp_path / name, faults, shown_as=name) is None
    assert [(f.code, f.place.file, f.place.line) for f in faults.found] == [
        ("settings.not-utf8", "latin.yaml", 2),
        ("settings.too-large", "large.yaml", 0),
        ("settings.unreadable", "absent.yaml", 0),
    ]


def test_a_byte_order_mark_and_an_empty_file_are_read(tmp_path: Path) -> None:
    faults = Faults()
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    (tmp_path / "empty.yaml").write_bytes(b"# nothing yet\n")
    bom, empty = read_yaml(tmp_path / "bom.yaml", faults), read_yaml(tmp_path / "empty.yaml", faults)
    assert bom is not None and bom.plain() == {"a": 1}
    assert empty is not None and empty.value is None and faults.found == []


@given(st.text(alphabet=st.characters(codec=None), max_size=200) | st.text("[]{}:-&*!|>'\"#%@,?ab1 \n\t", max_size=120))
@settings(max_examples=400, deadline=None)
def test_no_text_makes_the_reader_fail(text: str) -> None:
    node, codes = parsed(text)
    assert node is not None or codes


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=20)
names = st.text("abcxyz_", min_size=1, max_size=5)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(names, children, max_size=4),
    max_leaves=12,
)


@given(plain)
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_back(value: object) -> None:
    node, codes = parsed(yaml.safe_dump(_quoted(value), allow_unicode=True))
    assert codes == [] and node is not None and node.plain() == value


class _Quoted(str):
    pass


def _quoted(value: object) -> object:
    """Texts are dumped in quotes: YAML 1.1's writer leaves some plain that YAML 1.2 reads otherwise."""
    if isinstance(value, str):
        return _Quoted(value)
    if isinstance(value, list):
        return [_quoted(v) for v in value]
    if isinstance(value, dict):
        return {k: _quoted(v) for k, v in value.items()}
    return value


yaml.SafeDumper.add_representer(
    _Quoted, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style='"')
)
