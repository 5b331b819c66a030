"""The wheel, installed alone in an empty environment, is a whole Meterline."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def run(*words: str | Path, cwd: Path, minutes: int = 5) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60 * minutes,
        check=False,
        env=clean | {"HOME": str(cwd)},
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    done = run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    if done.returncode and "No matching distribution" in done.stdout + done.stderr:
        pytest.skip("no package index can be reached to build the wheel")
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def installed(wheel: Path, extra: str, folder: Path) -> Path:
    """The `meterline` of a new environment in which there is nothing but the wheel and what it asks for."""
    venv.create(folder / "env", with_pip=False)  # ours can install into it
    pip = (sys.executable, "-m", "pip", "--python", folder / "env", "--disable-pip-version-check")
    done = run(*pip, "install", "--quiet", "--no-compile", f"{wheel}{extra}", cwd=folder)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("no package index can be reached to install what the wheel asks for")
    assert done.returncode == 0, done.stderr
    return folder / "env" / "bin" / "meterline"


def test_the_wheel_holds_all_profiles_and_migrations_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for part in ("profiles/meters", "profiles/utilities"):
        here = {f"{part}/{path.name}" for path in (ROOT / part).glob("*.yaml")}
        assert here <= set(names)
    assert any(name.startswith("collector/central/migrations/versions/") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "docs/", ".ci/"))]


def test_the_wheel_alone_shows_help_and_profiles(wheel: Path, tmp_path: Path) -> None:
    meterline = installed(wheel, "", tmp_path)
    assert run(meterline, "--help", cwd=tmp_path).returncode == 0
    listed = run(meterline, "profile", "list", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "eastron-sdm630" in listed.stdout
    lacking = run(meterline, "demo", cwd=tmp_path)
    assert lacking.returncode == 2
    assert "meterline[demo]" in lacking.stderr


@pytest.mark.long
def test_the_wheel_with_its_demo_runs_the_demo(wheel: Path, tmp_path: Path) -> None:
    meterline = installed(wheel, "[demo]", tmp_path)
    shown = run(meterline, "demo", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "billed values are what the meters held, 0 are not" in shown.stdout
