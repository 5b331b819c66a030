"""Archives that lie: names that lead away, wrong digests, cut ends, rows that are none, newer versions."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import inspect, make_url

from collector.central.archive import Archive
from collector.central.engine import postgresql_engine
from collector.central.restore import restore
from collector.config import load_central
from collector.exits import UsageFault
from tests.central.building import Meterline
from tests.central.databases import KINDS, database_url
from tests.central.drill import NOW, building, empty, made


class Forgery:
    """The members of a sound backup, to be changed, and an archive of them with true digests."""

    def __init__(self, file: Path) -> None:
        with zipfile.ZipFile(file) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}
        self.manifest = json.loads(self.members.pop("manifest.json"))
        self.rows = {item["name"]: item["rows"] for item in self.manifest["files"]}

    def table(self, name: str) -> list[Any]:
        """The rows of a table; put them back by `put`."""
        return [json.loads(line) for line in self.members[f"tables/{name}.ndjson"].splitlines()]

    def put(self, name: str, rows: list[Any]) -> None:
        self.members[f"tables/{name}.ndjson"] = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        self.rows[f"tables/{name}.ndjson"] = len(rows)

    def write(self, target: Path, **manifest: Any) -> Path:
        files = [
            {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "rows": self.rows.get(name)}
            for name, data in self.members.items()
        ]
        whole = {**self.manifest, "files": files, **manifest}
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in self.members.items():
                archive.writestr(name, data)
            archive.writestr("manifest.json", json.dumps(whole))
        return target


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    return made(building(folder / "here"), folder / "centre.backup")


@pytest.fixture
def forgery(sound: Path) -> Forgery:
    return Forgery(sound)


def refused(folder: Path, file: Path, meterline: Meterline, *words: str) -> None:
    """The command says no in words, and nothing has come into the target."""
    config = empty(folder / "there")
    answer = meterline("restore", file, "--config", folder / "there/central.yaml")
    assert (answer.status, answer.out) == (2, ""), answer
    assert answer.err.startswith("meterline: ")
    assert "Traceback" not in answer.err
    for word in words:
        assert word in answer.err
    assert not [path for path in config.data.rglob("*") if path != config.out]
    assert sorted(path.name for path in (folder / "there").iterdir()) in (["central.yaml"], ["central.yaml", "data"])


@pytest.mark.parametrize(
    "name",
    [
        "out/../../evil", "/etc/evil", "../evil", "out/..", "out/./a", "out//a", "out/a/../../b", "out/.hidden/a",
        "out",
        "out/a\\b", "out/a\x1b[2J", "tables/../evil.ndjson", "tables/x.db", "evil", "central.db", "spool.db/x",
        "out/" + "a/" * 20 + "a", "out/" + "\u00e9" * 200, "out/\x7f",
    ],
)  # fmt: skip
def test_a_name_that_leads_anywhere_else_is_refused(
    tmp_path: Path, forgery: Forgery, meterline: Meterline, name: str
) -> None:
    forgery.members[name] = b"evil"
    refused(tmp_path, forgery.write(tmp_path / "b"), meterline, "no whole backup")
    del forgery.members[name]
    refused(tmp_path, forgery.write(tmp_path / "b", folders=[name]), meterline, "no whole backup")


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path, forgery: Forgery, meterline: Meterline) -> None:
    forgery.members |= {"out/a": b"", "out/a/b": b""}
    refused(tmp_path, forgery.write(tmp_path / "b"), meterline, "'out/a' is a folder and a file in it")


def test_a_link_in_an_archive_becomes_a_plain_file(tmp_path: Path, forgery: Forgery) -> None:
    forgery.members["out/link"] = b"/etc/passwd"
    target = forgery.write(tmp_path / "b")
    with zipfile.ZipFile(target, "a") as archive:
        archive.getinfo("out/link").external_attr = 0o120777 << 16
        archive._didModify = True
    config = empty(tmp_path / "there")
    restore(config, target, NOW, "olga")
    assert not (config.out / "link").is_symlink()
    assert (config.out / "link").read_bytes() == b"/etc/passwd"


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"schema": 2, "version": "3.1.4"}, ("was made by Meterline '3.1.4'", "form 2", "install that version")),
        ({"revision": "9999", "version": "9.0"}, ("was made by Meterline '9.0'", "tables of version '9999'")),
        ({"schema": "1"}, ("its manifest: schema",)),
        ({"kind": "holiday pictures"}, ("its manifest: kind",)),
        ({"files": []}, ("its members are not those of its manifest",)),
        ({"files": None}, ("its manifest: files",)),
        ({"spool": {"unsettled": "many", "since": None}}, ("its manifest: spool.unsettled",)),
    ],
)
def test_a_manifest_that_is_none_of_ours_or_a_newer_one_is_refused(
    tmp_path: Path, forgery: Forgery, meterline: Meterline, manifest: dict[str, Any], words: tuple[str, ...]
) -> None:
    refused(tmp_path, forgery.write(tmp_path / "b", **manifest), meterline, *words)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"[" * 100_000, b"\xff\xfe", b'{"schema": 1}', b"17"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, meterline: Meterline, text: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "b", "w") as archive:
        archive.writestr("manifest.json", text)
    refused(tmp_path, tmp_path / "b", meterline, "no whole backup: its manifest")


def test_what_is_no_archive_is_refused(tmp_path: Path, sound: Path, meterline: Meterline) -> None:
    whole = sound.read_bytes()
    refused(tmp_path, tmp_path / "nowhere", meterline, "is not there")
    for data in (b"", b"PK", b"x" * 1000, *(whole[: len(whole) * part // 8] for part in range(1, 8)), whole[:-1]):
        (tmp_path / "b").write_bytes(data)
        refused(tmp_path, tmp_path / "b", meterline, "no whole backup")
    with zipfile.ZipFile(tmp_path / "b", "w") as archive:
        archive.writestr("else", b"")
    refused(tmp_path, tmp_path / "b", meterline, "manifest.json cannot be read")


def test_a_member_with_another_digest_or_twice_is_refused(
    tmp_path: Path, forgery: Forgery, meterline: Meterline
) -> None:
    file = forgery.write(tmp_path / "b")
    with zipfile.ZipFile(file) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    name = "tables/ledger.ndjson"
    forgery.members[name] = forgery.members[name].replace(b"150", b"140")
    forged = forgery.write(tmp_path / "c", files=manifest["files"])
    refused(tmp_path, forged, meterline, f"{name} is not what it was")
    assert not (tmp_path / "there/data").exists()  # nothing was begun
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(file, "a") as archive:
        archive.writestr("central.yaml", b"")
    refused(tmp_path, file, meterline, "one of them stands twice")


def test_a_member_that_says_it_is_larger_than_any_disk_is_refused(
    tmp_path: Path, forgery: Forgery, meterline: Meterline
) -> None:
    file = forgery.write(tmp_path / "b")
    with zipfile.ZipFile(file, "a") as archive:
        manifest = json.loads(archive.read("manifest.json"))
        archive.getinfo("series.db").file_size = 1 << 50
        archive._didModify = True
    for item in manifest["files"]:
        item["bytes"] = 1 << 50 if item["name"] == "series.db" else item["bytes"]
    with zipfile.ZipFile(file) as archive:
        members = [(info, archive.open(info.filename)) for info in archive.infolist()]
        assert len(members) > 10
    forged = forgery.write(tmp_path / "c", files=manifest["files"])
    refused(tmp_path, forged, meterline, "series.db has not the size and form that the manifest names")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[0].pop("digest"), "tables/ledger.ndjson in the archive, line 1: this is no row of ledger"),
        (lambda rows: rows[1].update(extra=1), "line 2: this is no row of ledger"),
        (lambda rows: rows[0].update(id="1"), "line 1: id cannot be '1'"),
        (lambda rows: rows[0].update(id=True), "line 1: id cannot be True"),
        (lambda rows: rows[0].update(at=1.5), "line 1: at cannot be 1.5"),
        (lambda rows: rows[0].update(row=None), "line 1: row cannot be None"),
        (lambda rows: rows.__setitem__(2, []), "line 3: this is no row of ledger"),
        (lambda rows: rows.append(rows[0]), "do not go into"),
        (lambda rows: rows[0].update(at=1 << 70), "do not go into"),
        (lambda rows: rows[0].update(row="\ud800"), "do not go into"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_none_are_refused_and_nothing_of_them_stays(
    tmp_path: Path, forgery: Forgery, meterline: Meterline, use: Callable[[str], None],
    kind: str, change: Callable[[list[Any]], Any], words: str,
) -> None:  # fmt: skip
    use(kind)
    database_url(tmp_path / "there" / "data" / "central.db", "template1")  # as createdb makes one
    rows = forgery.table("ledger")
    change(rows)
    forgery.put("ledger", rows)
    refused(tmp_path, forgery.write(tmp_path / "b"), meterline, words)
    if kind == "postgresql":
        engine = postgresql_engine(make_url(load_central(tmp_path / "there/central.yaml").database.url))
        assert inspect(engine).get_table_names() == []
        engine.dispose()


def test_a_text_that_postgresql_does_not_take_is_refused_there(
    tmp_path: Path, forgery: Forgery, meterline: Meterline, use: Callable[[str], None]
) -> None:
    use("postgresql")
    for changed in ({"snapshot": "\0"}, {"zone": "x" * 65}):
        rows = forgery.table("evidence")
        rows[0].update(changed)
        forgery.put("evidence", rows)
        refused(tmp_path, forgery.write(tmp_path / "b"), meterline, "do not go into postgresql")


def test_tables_that_are_missing_strange_or_of_another_length_are_refused(
    tmp_path: Path, forgery: Forgery, meterline: Meterline
) -> None:
    evidence = forgery.members.pop("tables/evidence.ndjson")
    refused(tmp_path, forgery.write(tmp_path / "b"), meterline, "are not those of version", "['evidence']")
    forgery.members |= {"tables/evidence.ndjson": evidence, "tables/alembic_version.ndjson": b""}
    refused(tmp_path, forgery.write(tmp_path / "b"), meterline, "are not those of version", "['alembic_version']")
    del forgery.members["tables/alembic_version.ndjson"]
    forgery.rows["tables/evidence.ndjson"] = 5
    refused(tmp_path, forgery.write(tmp_path / "b"), meterline, "has 4 rows, its manifest names 5")
    forgery.members["tables/evidence.ndjson"] = b"[" * 100_000 + b"\n"
    refused(tmp_path, forgery.write(tmp_path / "b"), meterline, "line 1: this is no row of evidence")
    forgery.members["tables/evidence.ndjson"] = evidence[:-1]
    refused(tmp_path, forgery.write(tmp_path / "b"), meterline, "does not end with a line's end")
    forgery.members["tables/evidence.ndjson"] = b" " * (20 << 20)
    refused(tmp_path, forgery.write(tmp_path / "b"), meterline, "has a line of more than")


@pytest.mark.parametrize("name", ["spool.db", "series.db"])
@pytest.mark.parametrize("change", ["newer", "else", "torn"])
def test_a_spool_or_series_that_could_not_be_opened_afterwards_is_refused(
    tmp_path: Path, forgery: Forgery, meterline: Meterline, name: str, change: str
) -> None:
    path = tmp_path / name
    path.write_bytes(forgery.members[name])
    if change == "newer":
        with closing(sqlite3.connect(path)) as changed:
            changed.execute("PRAGMA user_version = 99")
    data = path.read_bytes()
    forgery.members[name] = {"newer": data, "else": b"no database " * 500, "torn": data[:1000] + b"\xff" * 5000}[change]
    path.unlink()
    refused(tmp_path, forgery.write(tmp_path / "b"), meterline, "the archive")


@given(st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_changed_on_the_way_are_noticed_or_mean_nothing(sound: Path, tmp_path: Path, data: Any) -> None:
    whole = bytearray(sound.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        # The last bytes are the directory, where a change may mean anything.
        start = data.draw(st.sampled_from([0, max(0, len(whole) - 3000)]))
        place = data.draw(st.integers(start, len(whole) - 1))
        cut = data.draw(st.sampled_from([0, 1, 1, 1, 7, 1000]))
        whole[place : place + cut] = data.draw(st.binary(max_size=8) if cut != 1 else st.binary(min_size=1, max_size=1))
    (tmp_path / "b").write_bytes(whole)
    try:
        with Archive(tmp_path / "b") as changed:
            changed.verify()
            manifest = changed.manifest
    except UsageFault:
        return
    with Archive(sound) as original:
        assert manifest == original.manifest
