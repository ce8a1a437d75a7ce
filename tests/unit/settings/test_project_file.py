"""accord.yaml, its environments and look-up files; system files."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from accord.errors import Faults
from accord.settings.environment import ChosenEnvironment, choose_environment
from accord.settings.lookup_files import read_lookup_files
from accord.settings.node import Node, parse_yaml
from accord.settings.project_file import EnvironmentSpec, ProjectFile, SystemOverlay, read_project_file
from accord.settings.secrets import Key, SealedFile
from accord.settings.system_file import SystemFile, in_environment, read_system_file

PROJECT = """
name: acme
zone: Europe/Berlin
defaults:
  on_error: {attempts: 3}
environments:
  default:
    address: 127.0.0.1:${env:PORT:-8400}
    retention: {age: 7d, size_max: 1GB}
    store: {kind: sqlite, path: .accord/journal.db}
    systems:
      shop: {settings: {retries: 1}}
  production:
    address: 0.0.0.0:80
    public_address: https://accord.example
    store: {kind: memory}
    secrets: [{files: "${env:SECRETS}"}, environment]
    retention: {age: 90d}
    intake: {requests_max: "${env:REQUESTS}", body_size_max: 1MB}
    api_token: ${secret:api}
    systems:
      shop: {settings: {store: "${env:SHOP}"}, rate_limit: {requests: 2, per: 1m}}
""".lstrip()


def project(text: str) -> tuple[ProjectFile | None, Faults]:
    faults = Faults()
    return read_project_file(parse_yaml(text, "accord.yaml", faults), faults), faults


def choose(
    folder: Path, text: str, name: str = "", variables: dict[str, str] | None = None
) -> tuple[ChosenEnvironment | None, list[str]]:
    file, faults = project(text)
    assert file is not None, faults.found
    chosen = choose_environment(file, name, folder, variables or {}, faults)
    return chosen, [f"{f.place.line} {f.code.partition('.')[2]}: {f.what} {f.mend}".strip() for f in faults.found]


def test_a_name_is_all_a_project_needs(tmp_path: Path) -> None:
    chosen, faults = choose(tmp_path, "name: acme\n")
    assert faults == [] and chosen is not None and chosen.name == "default"
    assert (chosen.spec.host, chosen.spec.port) == ("127.0.0.1", 8400)
    assert chosen.spec.intake.body_size_max == 5_000_000 and chosen.spec.store.path == ".accord/journal.db"
    assert chosen.environment.secrets.title == "environment variables, then the encrypted file secrets.accord"


def test_an_environment_is_laid_over_the_default_one(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "api").write_text("t0ken")
    variables = {"SECRETS": str(tmp_path / "run"), "REQUESTS": "9", "ACCORD_ENV": "production"}
    chosen, faults = choose(tmp_path, PROJECT, variables=variables)
    assert faults == [] and chosen is not None and chosen.name == "production"
    spec = chosen.spec
    assert (spec.host, spec.port, spec.public_address) == ("0.0.0.0", 80, "https://accord.example")
    assert spec.retention.age == dt.timedelta(days=90) and spec.retention.size_max == 1_000_000_000
    assert spec.store.kind == "memory" and (spec.intake.requests_max, spec.intake.body_size_max) == (9, 1_000_000)
    assert spec.api_token is not None and spec.api_token.reveal() == "t0ken"
    assert spec.systems["shop"].settings.plain() == {"retries": 1, "store": "${env:SHOP}"}
    default, faults = choose(tmp_path, PROJECT, "default", {"PORT": "1"} | variables)
    assert faults == [] and default is not None and default.spec.port == 1 and default.spec.store.kind == "sqlite"


def test_an_environment_changes_settings_of_a_system(tmp_path: Path) -> None:
    faults = Faults()
    text = "system: shop\nconnector: http\nsettings: {store: local, retries: 5, auth: {user: a}}\nentities:\n"
    system = read_system_file(parse_yaml(text, "shop.yaml", faults), faults)
    chosen, _ = choose(
        tmp_path, PROJECT, "production", {"SECRETS": "/s", "REQUESTS": "9", "SHOP": "real", "ACCORD_SECRET_API": "x"}
    )
    assert system is not None and chosen is not None
    changed = in_environment(system, chosen.spec)
    assert changed.settings.plain() == {"store": "${env:SHOP}", "retries": 1, "auth": {"user": "a"}}
    assert changed.rate_limit is not None and changed.rate_limit.per == dt.timedelta(minutes=1)
    assert chosen.resolver.resolve(changed.settings, faults).plain()["store"] == "real" and faults.found == []
    store = changed.settings.get("store")
    assert store is not None and store.place.file == "accord.yaml"


def test_a_system_of_another_kind_has_settings_of_its_own():
    faults = Faults()
    text = "system: store\nconnector: duckdb\nsettings: {file: a.duckdb}\nentities: {sales: {key: id}}\n"
    system = read_system_file(parse_yaml(text, "store.yaml", faults), faults)
    change = SystemOverlay(connector="sql", settings=Node.of({"url": "postgresql://db/x"}))
    assert system is not None
    changed = in_environment(system, EnvironmentSpec(systems={"store": change}))
    assert (changed.connector, changed.settings.plain()) == ("sql", {"url": "postgresql://db/x"})
    assert changed.entities == system.entities


def test_secrets_of_the_encrypted_file_are_found(tmp_path: Path) -> None:
    key = Key.generate()
    SealedFile(tmp_path / "secrets.accord", lambda: [key]).set("api", "sealed")
    text = "name: acme\nenvironments: {default: {api_token: '${secret:api}'}}\n"
    chosen, faults = choose(tmp_path, text, variables={"ACCORD_KEY": key.reveal()})
    assert faults == [] and chosen is not None and chosen.spec.api_token is not None
    assert chosen.spec.api_token.reveal() == "sealed"
    _, faults = choose(tmp_path, text, variables={"HOME": str(tmp_path / "home")})
    assert len(faults) == 1 and faults[0].startswith("2 key-missing: The secret 'api' cannot be read: There is no key")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nme: acme", "1 unknown-key: Unknown key `nme` in accord.yaml. Did you mean 'name'?"),
        ("name: a b", "must be letters, digits, _ and -"),
        (
            "name: a\nzone: Europe/Berln",
            "2 invalid: `zone` 'Europe/Berln' is no IANA time zone. Did you mean 'Europe/Berlin'?",
        ),
        ("name: a\nzone: ../../etc", "is no IANA time zone"),
        ("name: a\nenvironments: {x: {adress: y}}", "Unknown key `adress` in environment 'x'. Did you mean 'address'?"),
        ("name: a\nenvironments: {x: {address: '8400'}}", "must be host:port"),
        ("name: a\nenvironments: {x: {address: 'h:99999'}}", "must be host:port"),
        ("name: a\nenvironments: {x: {public_address: accord.example}}", "must begin with https://"),
        (
            "name: a\nenvironments: {x: {secrets: [env]}}",
            "must be one of environment, keyring or a mapping, this is the text 'env'",
        ),
        ("name: a\nenvironments: {x: {secrets: [{file: a, files: b}]}}", "is either {files: folder} or {file"),
        ("name: a\nenvironments: {x: {intake: {requests_max: 0}}}", "must be at least 1"),
        ("name: a\nenvironments: {x: {retention: {age: 30}}}", "must be a duration"),
        ("name: a\nenvironments: {x: {api_token: open}}", "is a secret and stands here openly"),
        ("name: a\nenvironments: {x: {store: {kind: sqllite}}}", "Did you mean 'sqlite'?"),
        ("name: a\nenvironments: {x: {systems: {shop: {setings: {}}}}}", "Did you mean 'settings'?"),
    ],
)
def test_what_is_wrong_in_the_project_file(text: str, said: str) -> None:
    _, faults = project(text)
    shown = [f"{f.place.line} {f.code.partition('.')[2]}: {f.what} {f.mend}".strip() for f in faults.found]
    assert any(said in line for line in shown), shown


def test_references_of_an_environment_that_is_not_chosen_are_left_alone() -> None:
    file, faults = project(PROJECT)
    assert file is not None and faults.found == []


def test_an_unknown_environment_and_a_key_inside_the_project(tmp_path: Path) -> None:
    chosen, faults = choose(tmp_path, PROJECT, "prodction")
    assert chosen is None and faults == [
        "1 unknown-environment: There is no environment 'prodction'. Did you mean 'production'?"
    ]
    text = "name: a\nenvironments: {default: {secrets: [{file: s.accord, key_file: keys/a.key}]}}\n"
    _, faults = choose(tmp_path, text)
    assert len(faults) == 1 and "2 key-in-project" in faults[0]


def test_what_is_wrong_in_a_system_file() -> None:
    faults = Faults()
    text = "system: my shop\nconector: http\nrate_limit: {requests: 0, per: 0s}\nentities: [a]\n"
    assert read_system_file(parse_yaml(text, "shop.yaml", faults), faults) is None
    said = " ".join(map(str, faults.found))
    for part in (
        "Did you mean 'connector'?",
        "`connector` is missing",
        "`system` must be letters",
        "at least 1",
        "`entities` must be",
    ):
        assert part in said
    assert SystemFile(system="shop", connector="http").settings.plain() == {}


def tables(folder: Path, text: str) -> tuple[Node, list[str]]:
    faults = Faults()
    node = parse_yaml(text, "accord.yaml", faults)
    assert node is not None
    return read_lookup_files(node, folder, faults), [f"{f.place} {f.what} {f.mend}".strip() for f in faults.found]


def test_look_up_tables_in_place_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text('\ufeffcode;name;tax\nDE;"Deutsch;land";19\nFR;Frankreich;20.0\n', "utf-8")
    read, faults = tables(
        tmp_path,
        "codes: {a: 1}\n"
        "names: {csv: c.csv, key: code, value: name, delimiter: ;}\n"
        "taxes: {csv: c.csv, key: code, value: tax, type: number, delimiter: ;}\n",
    )
    assert faults == []
    plain = read.plain()
    assert plain["codes"] == {"a": 1} and plain["names"] == {"DE": "Deutsch;land", "FR": "Frankreich"}
    assert [str(v) for v in plain["taxes"].values()] == ["19", "20.0"]
    names = read.get("names")
    assert names is not None and str(names.place_of("FR")) == "c.csv:3"


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("{csv: absent.csv, key: code, value: name}", "cannot be read: No such file"),
        ("{csv: ../c.csv, key: code, value: name}", "lies outside the project"),
        ("{csv: c.csv, key: cod, value: name}", "has no column 'cod'. Did you mean 'code'?"),
        ("{csv: c.csv, key: code, value: name, type: number}", "'Germany' is no number"),
        ("{csv: c.csv, key: code}", "The key `value` is missing"),
        (
            "{csv: double.csv, key: code, value: name}",
            "double.csv:3 The key 'DE' stands here a second time (first on line 2).",
        ),
        ("{csv: short.csv, key: code, value: name}", "short.csv:2 This line has no name."),
        ("{csv: quote.csv, key: code, value: name}", "This is not CSV"),
        ("{csv: latin.csv, key: code, value: name}", "is not UTF-8 text"),
    ],
)
def test_what_is_wrong_with_a_look_up_file(tmp_path: Path, declared: str, said: str) -> None:
    (tmp_path / "c.csv").write_text("code,name\nDE,Germany\n")
    (tmp_path / "double.csv").write_text("code,name\nDE,Germany\nDE,Deutschland\n")
    (tmp_path / "short.csv").write_text("code,name\nDE\n")
    (tmp_path / "quote.csv").write_text('code,name\nDE,"Ger"many\n')
    (tmp_path / "latin.csv").write_bytes(b"code,name\nDE,\xe4\n")
    read, faults = tables(tmp_path, f"t: {declared}\n")
    assert read.get("t") is None and len(faults) == 1 and said in faults[0], faults


@pytest.mark.parametrize(
    ("store", "fault"),
    [
        ("{kind: jetstream, servers: [nats://n1:4222, tls://n2], credentials: '${secret:nats}'}", ""),
        ("{kind: jetstream}", "needs its `servers`"),
        ("{kind: sqlite, servers: [nats://n1:4222]}", "belong to a store of kind jetstream"),
        ("{kind: jetstream, servers: [nats://me:hush@n1:4222]}", "servers"),
        ("{kind: jetstream, servers: [nats://n1], credentials: hush}", "credentials"),
        ("{kind: jetstream, servers: [nats://n1], stream: a.b}", "stream"),
        ("{kind: jetstream, servers: [nats://n1], replicas: 0}", "replicas"),
    ],
)
def test_a_log_in_jetstream_is_declared_without_passwords_in_addresses(store: str, fault: str) -> None:
    _, faults = project(f"name: acme\nenvironments:\n  default: {{store: {store}}}\n")
    found = " ".join(str(one) for one in faults.errors)
    assert (fault in found) if fault else not found
