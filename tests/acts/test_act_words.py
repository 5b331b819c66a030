"""What people read in front of a meter: the same facts in each language, and in Russian no English."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any

import pytest

from collector.acts import typed
from collector.acts.words import LANGUAGES, Words, words

# What a person types as it is: commands, files, answers that are words of the program.
AS_TYPED = re.compile(r"`[^`]*`|meterline act resume|gateway\.yaml|intact|broken|absent|refused|SHA-256|[78][NEO][12]")


def texts(said: Words) -> Mapping[str, str]:
    groups = said.model_dump()
    return {f"{group}.{name}": text for group, inner in groups.items() for name, text in inner.items()}


def facts(text: str) -> set[str]:
    return {field for _, field, _, _ in Formatter().parse(text) if field}


def test_a_text_has_the_same_facts_in_each_language() -> None:
    english, russian = (texts(words(language)) for language in LANGUAGES)
    assert {name: facts(text) for name, text in english.items()} == {
        name: facts(text) for name, text in russian.items()
    }


def test_russian_texts_have_no_english_words() -> None:
    latin = {
        name: found
        for name, text in texts(words("ru")).items()
        if (found := re.findall(r"[A-Za-z]{2,}", re.sub(r"\{[^}]*\}", "", AS_TYPED.sub("", text))))
    }
    assert latin == {}


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (typed.yes_or_no, "maybe", "да или нет"),
        (typed.day, "soon", "дата пишется ГГГГ-ММ-ДД или ДД.ММ.ГГГГ"),
        (typed.whole(1, 4), "5", "целое число от 1 до 4"),
        (typed.line(3), "abcd", "от 1 до 3 печатных знаков (сейчас 4)"),
        (typed.seal_on, "A1", "number;type;place;intact - через точку с запятой"),
    ],
)
def test_who_types_something_else_is_told_in_the_acts_language(
    read: Callable[[str], Any], text: str, said: str
) -> None:
    with pytest.raises(typed.Wanted) as caught:
        read(text)
    assert words("ru").wanted_in_words(caught.value) == said
    assert words("en").wanted_in_words(caught.value) == str(caught.value)
