"""`meterline profile`: what it prints, its exit statuses, and which parts run without the edge's libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from collector.cli import main
from drivers import profile
from drivers.profile_table import markdown_table

SHIPPED = list(profile.load_all().values())
SDM630 = profile.METERS / "eastron-sdm630.yaml"

# Everything that an extra brings: a laptop with the base dependencies has none of these.
EXTRAS = ("pymodbus", "serial", "paho", "sqlalchemy", "alembic", "amqtt")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["profile", *arguments])
    shown = capsys.readouterr()
    return int(str(stop.value.code)), shown.out, shown.err


def without_extras(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process that cannot import what an extra brings."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({EXTRAS!r})); from collector.cli import main; main(sys.argv[1:])"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "profile", *arguments], capture_output=True, text=True, check=False
    )


def test_list_shows_every_profile_with_its_proof(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "list")
    assert status == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    for item in SHIPPED:
        assert f" {item.proof_kind}" in rows[item.id]
        assert rows[item.id].rstrip().endswith(str(len(item.all_caveats)))


def test_list_as_json_is_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "list", "--format", "json")
    rows = {row["id"]: row for row in json.loads(out)}
    assert status == 0
    assert set(rows) == {item.id for item in SHIPPED}
    assert rows["orno-we-515"]["serial"] is False
    assert (rows["orno-we-515"]["tariffs"], rows["eastron-sdm120"]["tariffs"]) == (4, 1)
    assert rows["abb-b23"]["digest"] == profile.load("abb-b23").digest


def test_list_as_markdown_is_the_table_of_the_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "list", "--format", "markdown") == (0, markdown_table(SHIPPED), "")


@pytest.mark.parametrize("item", SHIPPED, ids=lambda item: item.id)
def test_show_leaves_nothing_out(item: profile.Profile, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "show", item.id)
    said = "".join(out.split())  # lines are broken to the terminal's width
    assert status == 0
    for text in (item.title, item.digest, item.source, item.line.source, *item.caveats):
        assert "".join(text.split()) in said
    for code, register in item.registers.items():
        assert code in said
        assert "".join(register.where.split()) in said
    for one in item.proof:
        assert all("".join(line.split()) in said for line in one.lines)
        assert "".join(one.source.split()) in said


def test_show_as_json_is_the_profile_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "show", "schneider-iem3155", "--format", "json")
    shown = json.loads(out)
    assert status == 0
    assert shown["digest"] == profile.load("schneider-iem3155").digest
    assert shown["profile"]["registers"]["1.8.3"]["address"] == "106B"
    assert "step of four" in shown["profile"]["registers"]["1.8.3"]["caveat"]


def test_show_of_an_unknown_profile_exits_2_and_names_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "show", "no-such-meter")
    assert (status, out) == (2, "")
    assert "eastron-sdm630" in err


def test_show_of_frozen_registers_says_how_they_are_labelled(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", str(Path(__file__).parent / "data" / "meters" / "test-frozen.yaml"))
    assert "stamp of the closing" in out
    assert "closing 1 back" in out


def test_check_runs_every_proof_of_every_profile(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "check")
    assert (status, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()] == [item.id for item in SHIPPED]


def test_check_exits_5_and_says_what_was_expected_and_what_came(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / SDM630.name
    wrong.write_text(SDM630.read_text().replace('"24547.768"', '"24547.769"'))
    status, out, err = run(capsys, "check", str(wrong), "abb-b23")
    assert status == 5
    assert "eastron-sdm630, proof 2 (captured): 15.8.0 must be 24547.769, the answer gives 24547.768" in err
    assert out.startswith("abb-b23: 6 proofs hold")


def test_check_exits_2_with_the_faults_of_all_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text(SDM630.read_text().replace("phases: 3", "phases: 4"))
    other.write_text("schema: 1\n")
    status, out, err = run(capsys, "check", str(one), str(other), "no-such-meter")
    assert (status, out) == (2, "")
    assert f"{one}:7: phases: one of 1, 3 (here: '4')" in err
    assert f"{other}:1: id: this key is required and is missing" in err
    assert "profile 'no-such-meter' is not known" in err


def test_schema_prints_one_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "schema")
    assert status == 0
    assert json.loads(out) == profile.json_schema()


@pytest.mark.parametrize("arguments", [("list",), ("show", "abb-b23"), ("schema",)], ids=lambda item: item[0])
def test_all_but_check_runs_with_the_base_dependencies(arguments: tuple[str, ...]) -> None:
    done = without_extras(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_check_without_pymodbus_exits_2_and_says_what_to_install() -> None:
    done = without_extras("check")
    assert done.returncode == 2
    assert "pip install 'meterline[edge]'" in done.stderr
    assert "Traceback" not in done.stderr
