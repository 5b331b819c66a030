"""The words of acts in each language: a strict file each, with the same keys."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from collector.model_act import Check, Ground, Kind, Language
from drivers import strict_yaml
from drivers.strict_yaml import ConfigError

FOLDER = Path(__file__).resolve().parent
LANGUAGES: tuple[Language, ...] = get_args(Language)


class Words(BaseModel):
    """All texts of one language: of kinds, checks and grounds by their codes, of questions and of the page by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kinds: Mapping[Kind, str]
    checks: Mapping[Check, str]
    grounds: Mapping[Ground, str]
    questions: Mapping[str, str]
    page: Mapping[str, str]


@lru_cache
def words(language: Language) -> Words:
    """The words of a language. Raises ConfigError where a file lacks a code, or has other keys than the first one."""
    name = f"{language}.yaml"
    document = strict_yaml.parse((FOLDER / name).read_text(encoding="utf-8"), name)
    try:
        found = Words.model_validate(document.data)
    except ValidationError as error:
        raise ConfigError(document.faults(error)) from None
    wanted = {"kinds": set(get_args(Kind)), "checks": set(get_args(Check)), "grounds": set(get_args(Ground))}
    if language != LANGUAGES[0]:
        first = words(LANGUAGES[0])
        wanted |= {"questions": set(first.questions), "page": set(first.page)}
    faults = [
        f"{name}: {part}.{key}: stands in one language, or in the program, and not in the other"
        for part, keys in wanted.items()
        for key in sorted(keys ^ set(getattr(found, part)))
    ]
    if faults:
        raise ConfigError(faults)
    return found
