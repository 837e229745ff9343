"""Settings: what one process has, its children load; what would be left unused is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cecochat.domain.errors import InvalidSettings
from cecochat.run import system
from cecochat.settings.settings import Settings, as_environment, load, made
from cecochat.settings.tls import secret


def test_another_process_loads_the_very_settings(tmp_path: Path) -> None:
    given = made(
        data_dir=tmp_path,
        kafka="one:9092,two:9092",
        kafka_tls=True,
        partitions=7,
        jwks_file=tmp_path / "keys",
    )
    assert load(as_environment(given)) == given
    assert load({**as_environment(given), "CECOCHAT_KAFKA_TLS": "no"}) != given


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("TLS_KEY_FILE", "TLS_CERT_FILE"),
        ("BACKENDS_KEY_FILE", "BACKENDS_CERT_FILE"),
        ("KAFKA_PASSWORD_FILE", "KAFKA_USERNAME"),
        ("CASSANDRA_PASSWORD_FILE", "CASSANDRA_USERNAME"),
    ],
)
def test_half_of_what_is_secret_is_refused(name: str, missing: str) -> None:
    half = {f"CECOCHAT_{name}": "/a/file"}
    with pytest.raises(InvalidSettings, match=f"CECOCHAT_{name} .* CECOCHAT_{missing}"):
        load(half)
    load({**half, f"CECOCHAT_{missing}": "/another"})


def test_a_wrong_name_is_met_with_the_one_that_was_meant() -> None:
    with pytest.raises(InvalidSettings, match=r"did you mean CECOCHAT_CONNECT_PORT\?"):
        load({"CECOCHAT_CONNECT_PROT": "1"})
    with pytest.raises(InvalidSettings, match=r"XYZZY is not a setting: docs/reference/settings"):
        load({"CECOCHAT_XYZZY": "1"})


def test_a_secret_that_is_no_text_is_not_told(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"\xffsecret\n")
    with pytest.raises(InvalidSettings, match=r"secret is not UTF-8 text$"):
        secret(file)
    file.write_bytes(b"secret\n")
    assert secret(file) == "secret"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (Settings(), "127.0.0.1"),
        (Settings(host="0.0.0.0", advertise_host="10.0.0.5"), "127.0.0.1"),
        (Settings(host="10.0.0.5", internal_host="10.1.0.5"), "10.1.0.5"),
        (Settings(host="10.0.0.5", internal_host="0.0.0.0"), "10.0.0.5"),
        (Settings(advertise_host="chat.internal", internal_host="::"), "chat.internal"),
    ],
)
def test_servers_are_told_an_address_that_can_be_reached(given: Settings, told: str) -> None:
    assert given.internal_address == told


@pytest.mark.parametrize(
    ("given", "what_to_set"),
    [
        (Settings(), []),
        (Settings(host="10.0.0.5"), ["INTERNAL_HOST"]),
        (Settings(host="0.0.0.0", internal_host="localhost"), ["INTERNAL_HOST"]),
        (Settings(internal_host="10.0.0.5"), ["CLUSTER_SECRET_FILE"]),
        (Settings(internal_host="10.0.0.5", cluster_secret_file=Path("/a")), []),
    ],
)
def test_a_server_that_only_its_machine_can_ask_says_so(
    given: Settings, what_to_set: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    system.warn_if_alone(given)
    assert [each.levelname for each in caplog.records] == ["WARNING"] * len(what_to_set)
    assert re.findall(r"CECOCHAT_(\w+)", caplog.text) == what_to_set
