"""Configuration text: what is read as what, and that every fault has its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from drivers import strict_yaml
from drivers.strict_yaml import ConfigError


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        strict_yaml.parse(text, "f.yaml")
    assert str(caught.value) == "\n".join(caught.value.faults)
    return caught.value.faults


def test_every_scalar_is_the_text_that_stands_there() -> None:
    text = "a: 012\nb: 8E1\nc: no\nd: 2026-11-01\ne: 0x10\nf: 1_000\ng: '012'\nh: \"true\"\n00123456: .5\n"
    assert strict_yaml.parse(text, "f").data == {
        "a": "012", "b": "8E1", "c": "no", "d": "2026-11-01", "e": "0x10", "f": "1_000", "g": "012", "h": "true",
        "00123456": ".5",
    }  # fmt: skip


def test_null_is_none_unless_it_is_quoted() -> None:
    text = "a: null\nb:\nc: ~\nd: 'null'\ne: ''\nf: [null, '~']"
    assert strict_yaml.parse(text, "f").data == {
        "a": None, "b": None, "c": None, "d": "null", "e": "", "f": [None, "~"]
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_none(text: str) -> None:
    assert strict_yaml.parse(text, "f").data is None


TREES = st.recursive(
    st.none() | st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz_19", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(TREES, st.booleans())
def test_what_is_written_as_text_is_read_as_it_was(tree: Any, flow: bool) -> None:
    def quoted(value: Any) -> Any:
        """Everything but null in quotes, as any YAML writer may do."""
        if isinstance(value, dict):
            return {key: quoted(item) for key, item in value.items()}
        return [quoted(item) for item in value] if isinstance(value, list) else value

    text = yaml.safe_dump(quoted(tree), default_flow_style=flow, allow_unicode=True)
    assert strict_yaml.parse(text, "f").data == tree


def test_every_value_knows_its_line() -> None:
    document = strict_yaml.parse("a: 1\nb:\n  - c: 2\n    d: 3\n  - e\n", "f.yaml")
    assert document.where(("b", 0, "d")) == "f.yaml:4"
    assert document.where(("b", 1)) == "f.yaml:5"
    assert document.where(("b", 0, "missing", "deeper")) == "f.yaml:3"
    assert document.where(("nothing",)) == "f.yaml:1"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3: a: this key stands twice, first in line 1"),
        ("x:\n  a: 1\n  a:\n    b: 1", "f.yaml:3: x.a: this key stands twice, first in line 2"),
        ("? [1, 2]\n: 3", "f.yaml:1: (whole file): a key must be plain text"),
        ("a: &x 1\nb: 2", "f.yaml:1: anchors and aliases are not used here; write the value out"),
        ("a: !!int 5", "f.yaml:1: tags such as tag:yaml.org,2002:int are not used here; write the value alone"),
        ("a: 1\nb: !secret x", "f.yaml:2: tags such as !secret are not used here; write the value alone"),
        ("a: 1\n---\nb: 2", "f.yaml:2: not YAML: expected a single document in the stream, but found another document"),
        ("a: b: c", "f.yaml:1: not YAML: mapping values are not allowed here"),
        ("a: 1\n\tb: 2", "f.yaml:2: not YAML: while scanning for the next token, found character '\\t' that cannot "
         "start any token"),
        ("a: 1\nb: \x07", "f.yaml:2: not YAML: the character U+0007"),
        ("a: *x", "f.yaml:1: not YAML: found undefined alias 'x'"),
        ("[" * 5000, "f.yaml: not YAML for this program: nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_not_used_here_is_refused_with_its_line(text: str, fault: str) -> None:
    assert faults(text) == [fault]


def test_all_faults_are_said_at_once() -> None:
    assert len(faults("a: 1\na: 2\nb: {c: 1, c: 2}\n")) == 2
    assert len(faults("a: &x !t 1\nb: *x\n")) == 3


def test_aliases_cannot_make_a_small_file_endless() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    assert len(faults(bomb)) == 60 + 2 * 59


@given(st.text(max_size=60) | st.text("ab:- \n[]{}&*!|>'\"#?%,\t", max_size=60))
def test_any_text_is_data_or_a_config_error(text: str) -> None:
    try:
        strict_yaml.parse(text, "f")
    except ConfigError as error:
        assert error.faults
        assert all(fault.startswith("f:") and "\n" not in fault for fault in error.faults)


# ----------------------------------------------------------------------------- files


def test_a_file_is_read_with_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_bytes("\ufeffid: дом\n".encode())
    assert strict_yaml.load(path).data == {"id": "дом"}
    assert strict_yaml.load(path).where(("id",)) == f"{path}:1"


@pytest.mark.parametrize(
    ("content", "says"), [(b"a: \xff", "byte 3 is not UTF-8 (0xff)"), (b"a" * ((1 << 20) + 1), "at most 1 MiB")]
)
def test_a_file_that_cannot_be_configuration_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        strict_yaml.load(path)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        strict_yaml.load(tmp_path / "x.yaml")


# ----------------------------------------------------------------------------- schema faults


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    count: int


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    items: list[Inner]


def test_a_schemas_faults_have_file_line_key_and_what_came() -> None:
    document = strict_yaml.parse("items:\n- count: 1\n- count: x\n- {count: 2, more: 3}\nother: 1\n", "f.yaml")
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(document.data)
    assert sorted(document.faults(caught.value)) == [
        "f.yaml:1: name: this key is required and is missing",
        "f.yaml:3: items.1.count: Input should be a valid integer, unable to parse string as an integer (here: 'x')",
        "f.yaml:4: items.2.more: unknown key; see the documentation for the keys of this file",
        "f.yaml:5: other: unknown key; see the documentation for the keys of this file",
    ]
