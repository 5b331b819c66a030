"""What configuration says of the daemons themselves: where they listen, where their secrets and their spool are."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.config import Metrics, spool_of
from collector.config_fields import located
from drivers.strict_yaml import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9101", ("127.0.0.1", 9101)),
        ("0.0.0.0:9101", ("0.0.0.0", 9101)),
        ("[::1]:80", ("::1", 80)),
        ("gw:1", ("gw", 1)),
    ],
)
def test_an_address_to_listen_at_is_a_port_of_this_computer_or_says_where(text: str, address: tuple[str, int]) -> None:
    assert Metrics.model_validate({"listen": text}).address == address


@pytest.mark.parametrize("text", ["", "0", "65536", ":9101", "http://x:1", "1.2.3.4", "::1:80", "a b:1"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="an address to listen at is wanted"):
        Metrics.model_validate({"listen": text})


def test_a_credential_of_systemd_comes_before_the_file_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = tmp_path / "handed"
    handed.mkdir()
    (handed / "password").write_text("theirs\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    for text, found in (
        ("password", handed / "password"),
        ("other", tmp_path / "other"),
        ("sub/password", tmp_path / "sub/password"),
        ("../handed/password", tmp_path / "../handed/password"),
        ("/etc/password", Path("/etc/password")),
    ):
        assert located(tmp_path, text) == found
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert located(tmp_path, "password") == tmp_path / "password"


def test_where_the_spool_is_can_be_told_without_any_secret(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("mqtt: {password_file: none}\nspool: {path: spool.db}\n")
    assert spool_of(tmp_path / "gateway.yaml") == tmp_path / "spool.db"
    (tmp_path / "gateway.yaml").write_text("spool: {}\n")
    with pytest.raises(ConfigError, match=r"spool\.path"):
        spool_of(tmp_path / "gateway.yaml")
