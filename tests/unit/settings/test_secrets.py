"""Providers of secrets, against real files, permissions, processes and keyrings."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keyring
import keyring.backend
import keyring.errors
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import SettingsError
from accord.settings.secrets import (
    Key,
    KeyFile,
    KeyringSecrets,
    MountedSecrets,
    ProviderChain,
    SealedFile,
    VariableSecrets,
    load_keys,
)
from accord.settings.secrets.keys import default_key_path


def sealed(folder: Path, key: Key | None = None) -> tuple[SealedFile, Key]:
    key = key or Key.generate()
    return SealedFile(folder / "secrets.accord", lambda: [key]), key


def code_of(error: pytest.ExceptionInfo[SettingsError]) -> str:
    return error.value.code


def test_set_get_list_remove(tmp_path: Path) -> None:
    file, _ = sealed(tmp_path)
    assert file.names() == [] and file.get("token") is None
    file.set("token", "s3cret-ä\n2")
    file.set("b.other-1", "x")
    file.set("token", "newer")
    assert file.names() == ["b.other-1", "token"] and file.get("token") == "newer"
    assert file.remove("token") is True and file.remove("token") is False and file.get("token") is None


def test_the_file_shows_names_and_hides_values(tmp_path: Path) -> None:
    file, key = sealed(tmp_path)
    for name in ("token", "twin"):
        file.set(name, "the-very-same-secret")
    text = file.path.read_text()
    assert "token:" in text and key.id in text
    assert "the-very-same-secret" not in text and key.reveal() not in text
    values = [line.split('"')[1] for line in text.splitlines() if line.startswith("  ")]
    assert values[0] != values[1] and b"same" not in base64.b64decode(values[0])


def test_a_changed_byte_and_a_moved_value_are_refused(tmp_path: Path) -> None:
    file, _ = sealed(tmp_path)
    file.set("low", "low-value")
    file.set("root", "root-value")
    text = file.path.read_text()
    low, root = (line.split('"')[1] for line in text.splitlines() if line.startswith("  "))
    file.path.write_text(text.replace(low, "@").replace(root, low).replace("@", root))
    for name in ("low", "root"):
        with pytest.raises(SettingsError) as swapped:
            file.get(name)
        assert code_of(swapped) == "settings.secret-broken" and "value" not in str(swapped.value).replace("'", "")
    raw = bytearray(base64.b64decode(low))
    raw[-1] ^= 1
    for damaged in (base64.b64encode(raw).decode(), "", "AAAA", "no base64!"):
        file.path.write_text(text.replace(low, damaged))
        with pytest.raises(SettingsError) as broken:
            file.get("low")
        assert code_of(broken) == "settings.secret-broken"
        assert file.get("root") == "root-value"


def test_another_key_no_key_and_a_broken_file_each_say_so(tmp_path: Path) -> None:
    file, key = sealed(tmp_path)
    file.set("token", "x")
    other, other_key = sealed(tmp_path, Key.generate())
    with pytest.raises(SettingsError) as wrong:
        other.get("token")
    assert code_of(wrong) == "settings.key-wrong" and key.id in str(wrong.value) and other_key.id in str(wrong.value)
    with pytest.raises(SettingsError) as overwrite:
        other.set("token", "y")
    assert code_of(overwrite) == "settings.key-wrong" and file.get("token") == "x"
    with pytest.raises(SettingsError) as missing:
        SealedFile(file.path, list).get("token")
    assert code_of(missing) == "settings.key-missing"
    for text in (
        "",
        "accord-secrets: 2\nkey: a\nsecrets: {}\n",
        "<<<<<<< ours",
        "accord-secrets: 1\nkey: a\nsecrets: [1]\n",
    ):
        file.path.write_text(text)
        with pytest.raises(SettingsError) as broken:
            file.names()
        assert code_of(broken) == "settings.secrets-file"


def test_rotation_encrypts_all_anew_or_nothing(tmp_path: Path) -> None:
    file, old = sealed(tmp_path)
    file.set("a", "1")
    file.set("b", "2")
    new = Key.generate()
    assert file.rotate(new) == 2
    renewed = SealedFile(file.path, lambda: [new])
    assert [renewed.get(name) for name in ("a", "b")] == ["1", "2"]
    with pytest.raises(SettingsError):
        file.get("a")
    text = file.path.read_text()
    line = next(line for line in text.splitlines() if line.startswith("  b"))
    file.path.write_text(text.replace(line, '  b: "AAAA"'))
    before = file.path.read_bytes()
    with pytest.raises(SettingsError):
        renewed.rotate(old)
    assert file.path.read_bytes() == before


@pytest.mark.parametrize("interrupted_after", ["next key stored", "file encrypted", "done"])
def test_an_interrupted_change_of_key_loses_nothing(tmp_path: Path, interrupted_after: str) -> None:
    key_file = KeyFile(tmp_path / "home" / "acme.key")
    key_file.store(Key.generate())
    file = SealedFile(tmp_path / "secrets.accord", key_file.load)
    file.set("token", "kept")
    if interrupted_after == "done":
        assert file.rotate_key_file(key_file) == 1
        assert not key_file.next_path.exists()
    else:
        new = Key.generate()
        key_file.store_next(new)
        if interrupted_after == "file encrypted":
            file.rotate(new)
    assert file.get("token") == "kept"
    assert file.rotate_key_file(key_file) == 1
    assert file.get("token") == "kept" and len(key_file.load()) == 1


def test_a_key_that_is_only_in_a_variable_is_not_changed_behind_its_back(tmp_path: Path) -> None:
    file, _ = sealed(tmp_path)
    file.set("token", "kept")
    key_file = KeyFile(tmp_path / "acme.key")
    with pytest.raises(SettingsError) as refused:
        file.rotate_key_file(key_file)
    assert code_of(refused) == "settings.key-wrong" and "ACCORD_KEY" in str(refused.value)
    assert file.get("token") == "kept" and not key_file.path.exists() and not key_file.next_path.exists()


def test_a_key_others_can_read_is_refused(tmp_path: Path) -> None:
    key_file = KeyFile(tmp_path / "acme.key")
    key = Key.generate()
    key_file.store(key)
    assert key_file.path.stat().st_mode & 0o777 == 0o600 and key_file.load()[0].reveal() == key.reveal()
    key_file.path.chmod(0o640)
    with pytest.raises(SettingsError) as exposed:
        key_file.load()
    assert code_of(exposed) == "settings.key-exposed" and "chmod 600" in str(exposed.value)
    with pytest.raises(SettingsError) as exists:
        key_file.store(Key.generate())
    assert code_of(exists) == "settings.key-exists"


def test_where_the_key_comes_from(tmp_path: Path) -> None:
    in_file, in_variable = Key.generate(), Key.generate()
    key_file = KeyFile(tmp_path / "acme.key")
    assert load_keys({}, key_file) == []
    key_file.store(in_file)
    assert [k.id for k in load_keys({}, key_file)] == [in_file.id]
    assert [k.id for k in load_keys({"ACCORD_KEY": in_variable.reveal() + "\n"}, key_file)] == [in_variable.id]
    with pytest.raises(SettingsError) as wrong:
        load_keys({"ACCORD_KEY": "not-a-key"}, key_file)
    assert code_of(wrong) == "settings.key-wrong" and "not-a-key" not in str(wrong.value)
    assert in_file.reveal() not in repr(in_file)
    assert default_key_path("a/c", {"HOME": "/h"}) == Path("/h/.config/accord/a_c.key")
    assert default_key_path("acme", {"XDG_CONFIG_HOME": "/x"}) == Path("/x/accord/acme.key")


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    key = Key.generate()

    def store(number: int) -> None:
        sealed(tmp_path, key)[0].set(f"name{number}", str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store, range(24)))
    file = sealed(tmp_path, key)[0]
    assert {name: file.get(name) for name in file.names()} == {f"name{n}": str(n) for n in range(24)}
    assert [p.name for p in tmp_path.iterdir()] == ["secrets.accord"]


def test_a_killed_writer_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    file, key = sealed(tmp_path)
    file.set("steady", "value")
    program = (
        "import sys, pathlib\n"
        "from accord.settings.secrets import Key, SealedFile\n"
        "key = Key.parse(sys.argv[2], origin='test')\n"
        "file = SealedFile(pathlib.Path(sys.argv[1]), lambda: [key])\n"
        "for n in range(10**9):\n"
        "    file.set('moving', str(n))\n"
        "    print(n, flush=True)\n"
    )
    command = [sys.executable, "-c", program, str(file.path), key.reveal()]
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(5)]
            process.kill()
        assert file.get("steady") == "value" and int(file.get("moving") or -1) >= int(told[-1])


@given(st.text(min_size=1, max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_text_is_kept_as_it_is(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    file, _ = sealed(tmp_path_factory.mktemp("sealed"))
    file.set("token", value)
    assert file.get("token") == value


@pytest.mark.parametrize("name", ["", "../x", "a b", "1a", "a" * 101, "a:b", "a\nb"])
def test_names_that_could_be_something_else_are_refused(tmp_path: Path, name: str) -> None:
    file, _ = sealed(tmp_path)
    for use in (
        lambda: file.set(name, "x"),
        lambda: MountedSecrets(tmp_path).get(name),
        lambda: ProviderChain([]).get(name),
    ):
        with pytest.raises(SettingsError) as refused:
            use()
        assert code_of(refused) == "settings.secret-name"
    assert not file.path.exists()


@pytest.mark.parametrize("value", ["", "x" * 65_537])
def test_empty_and_huge_values_are_refused(tmp_path: Path, value: str) -> None:
    file, _ = sealed(tmp_path)
    with pytest.raises(SettingsError):
        file.set("token", value)
    assert not file.path.exists()


def test_mounted_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"value\n")
    (tmp_path / "windows").write_bytes(b"value\r\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    mounted = MountedSecrets(tmp_path)
    assert mounted.get("token") == "value" and mounted.get("windows") == "value" and mounted.get("absent") is None
    assert mounted.names() == ["binary", "empty", "token", "windows"]
    for name in ("binary", "empty", "folder"):
        with pytest.raises(SettingsError) as unreadable:
            mounted.get(name)
        assert code_of(unreadable) == "settings.secret-unreadable"
    assert MountedSecrets(tmp_path / "nowhere").names() == [] and MountedSecrets(tmp_path / "nowhere").get("a") is None
    (tmp_path / "token").write_text("renewed")
    assert mounted.get("token") == "renewed"


def test_variables_and_the_order_of_providers(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from file")
    (tmp_path / "only_file").write_text("file")
    variables = VariableSecrets(
        {"ACCORD_SECRET_TOKEN": "from variable", "ACCORD_SECRET_SHOP_KEY_2": "k", "PATH": "/bin"}
    )
    file, _ = sealed(tmp_path / "git")
    chain = ProviderChain([variables, MountedSecrets(tmp_path), file])
    assert chain.get("token") == "from variable" and chain.get("only_file") == "file" and chain.get("absent") is None
    assert chain.get("shop-key.2") == "k"
    assert chain.names() == ["only_file", "shop_key_2", "token"] and chain.writable() is file
    assert ProviderChain([MountedSecrets(tmp_path), variables]).get("token") == "from file"
    found = chain.find("only_file")
    assert found is not None and str(tmp_path) in found[0].title


class MemoryKeyring(keyring.backend.KeyringBackend):
    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]


class LockedKeyring(MemoryKeyring):
    def get_password(self, service: str, username: str) -> str | None:
        raise keyring.errors.KeyringLocked("locked, password was hunter2")


@pytest.fixture
def own_keyring() -> Iterator[None]:
    before = keyring.get_keyring()
    yield
    keyring.set_keyring(before)


def test_the_os_keyring(own_keyring: None) -> None:
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    store = KeyringSecrets("acme")
    assert store.get("token") is None and store.remove("token") is False
    store.set("token", "value")
    assert store.get("token") == "value" and list(backend.entries) == [("accord/acme", "token")]
    assert store.remove("token") is True and store.get("token") is None
    keyring.set_keyring(LockedKeyring())
    with pytest.raises(SettingsError) as locked:
        store.get("token")
    assert code_of(locked) == "settings.keyring-unavailable" and "hunter2" not in str(locked.value)


def test_keyring_is_imported_only_when_used() -> None:
    program = "import sys, accord.settings.secrets; sys.exit('keyring' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, env={**os.environ}).returncode == 0
