"""The words of acts in each language: a strict file each, with the same keys."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from collector.acts.typed import WANTED, Wanted
from collector.model_act import Check, Ground, Kind, Language
from collector.model_act_grounds import SENTENCES, Against
from drivers import strict_yaml
from drivers.strict_yaml import ConfigError

FOLDER = Path(__file__).resolve().parent
LANGUAGES: tuple[Language, ...] = get_args(Language)


class Words(BaseModel):
    """All texts of one language: kinds, checks and grounds by their codes, questions, messages, the page by name.

    `against`: what was found that speaks against a meter; `wanted`: what was to be typed; a language that says none of
    them says them in English.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kinds: Mapping[Kind, str]
    checks: Mapping[Check, str]
    grounds: Mapping[Ground, str]
    questions: Mapping[str, str]
    said: Mapping[str, str]
    page: Mapping[str, str]
    against: Mapping[str, str] = SENTENCES
    wanted: Mapping[str, str] = WANTED

    def against_in_words(self, item: Against) -> str:
        """A ground, and what was found: `the seal is missing: at least one ...`."""
        if not item.name:
            return self.grounds[item.ground]
        facts = dict(item.facts)
        if "check" in facts:
            facts["check"] = self.checks[facts["check"]]
        return f"{self.grounds[item.ground]}: {self.against[item.name].format(**facts)}"

    def wanted_in_words(self, error: ValueError) -> str:
        """What was wanted in the place of what a person typed."""
        return self.wanted[error.name].format(**error.facts) if isinstance(error, Wanted) else str(error)


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
    wanted |= {"against": set(SENTENCES), "wanted": set(WANTED)}
    if language != LANGUAGES[0]:
        first = words(LANGUAGES[0])
        wanted |= {"questions": set(first.questions), "said": set(first.said), "page": set(first.page)}
    faults = [
        f"{name}: {part}.{key}: stands in one language, or in the program, and not in the other"
        for part, keys in wanted.items()
        for key in sorted(keys ^ set(getattr(found, part)))
    ]
    if faults:
        raise ConfigError(faults)
    return found
