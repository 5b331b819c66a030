"""Gives the answers that an act is made of: from the journal, else from flags or a file, else from a person.

Rule 1. Whatever was answered once is in the journal before the next question, and is not asked again.
Rule 2. An answer is checked where it is given: a person is asked again, a script ends with the name of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from collector.acts import typed
from collector.acts.journal import Journal
from collector.acts.words import Words
from collector.exits import UsageFault

T = TypeVar("T")
# (question, proposal) -> what was typed; the proposal where nothing was.
Prompt = Callable[[str, str | None], str]
Say = Callable[[str], None]

MANY = 20  # of a list at most, as the form of an act allows photos


class Answers:
    """The answers of one act. `given`: names -> texts, lists or mappings, from flags and files.

    `prompt` None: nobody is there to ask; then what has a proposal takes it, and what has none is missing.
    """

    def __init__(
        self, journal: Journal, given: Mapping[str, Any], words: Words, prompt: Prompt | None, say: Say
    ) -> None:
        self.journal = journal
        self.words = words
        self.say = say
        self._given = given
        self._prompt = prompt

    @property
    def attended(self) -> bool:
        """Whether somebody is there to be asked."""
        return self._prompt is not None

    def text(
        self,
        name: str,
        *,
        proposal: str | None = None,
        read: Callable[[str], Any] = str,
        about: str = "",
        question: str | None = None,
    ) -> Any:
        """An answer that must be there. `read` turns the text into what is kept, or raises ValueError in words."""
        return self._answer(name, question or name, about, proposal, read, optional=False)

    def optional(self, name: str, *, read: Callable[[str], Any] = str, about: str = "", question: str = "") -> Any:
        """An answer that may be left out: then None."""
        return self._answer(name, question or name, about, None, read, optional=True)

    def yes(self, name: str, *, about: str = "", question: str | None = None, proposal: str = "yes") -> bool:
        """Yes or no."""
        shown = self.words.said[proposal]
        return bool(self._answer(name, question or name, about, shown, typed.yes_or_no, optional=False))

    def check(self, name: str, about: str) -> bool | None:
        """Whether a check holds; nobody there: None, it was not looked at."""
        key = f"checks.{name}"
        if self._prompt is None and key not in self.journal.answers and self._find(key) is None:
            self.journal.put(key, None)
        found = self._answer(key, "check", about, self.words.said["yes"], typed.yes_or_no, optional=False)
        return None if found is None else bool(found)

    def many(self, name: str, question: str, read: Callable[[str], Any]) -> list[Any]:
        """A list: of texts that are given, else asked for until an empty line comes."""
        if name in self.journal.answers:
            return list(self.journal.answers[name])
        given = self._find(name)
        found: list[Any] = []
        if given is not None or self._prompt is None:
            items = [given] if isinstance(given, str) else given or []
            found += (self._checked(name, item, read) for item in items)
        else:
            for number in range(1, MANY + 1):
                item = self._answer(f"{name}.{number}", question, "", None, read, optional=True)
                if item is None:
                    break
                found.append(item)
        self.journal.put(name, found)
        return found

    def once(self, name: str, work: Callable[[], Any]) -> Any:
        """What `work` gives (JSON), done once for the act and kept as its answers are."""
        if name not in self.journal.answers:
            self.journal.put(name, work())
        return self.journal.answers[name]

    def beforehand(self, name: str, *, read: Callable[[str], Any] = str) -> Any:
        """What was given from the start and is never asked for: a port, a speed; None where it was not."""
        found = self._find(name)
        return None if found is None else self._checked(name, found, read)

    def _answer(
        self, name: str, question: str, about: str, proposal: str | None, read: Callable[[str], Any], *, optional: bool
    ) -> Any:
        if name in self.journal.answers:
            return self.journal.answers[name]
        given = self._find(name)
        if given is not None:
            value = self._checked(name, given, read)
        elif self._prompt is None:
            if proposal is None and not optional:
                asked = self.words.questions[question]
                raise UsageFault(
                    f"{name}: not given ({asked}{': ' + about if about else ''}); give it as a flag or in --answers"
                )
            value = None if proposal is None else self._checked(name, proposal, read)
        else:
            value = self._asked(
                self._prompt,
                f"{self.words.questions[question]}{': ' if about else ''}{about}",
                proposal,
                read,
                optional,
            )
        self.journal.put(name, value)
        return value

    def _asked(
        self, prompt: Prompt, question: str, proposal: str | None, read: Callable[[str], Any], optional: bool
    ) -> Any:
        while True:
            typed = prompt(question, proposal).strip()
            if not typed and optional:
                return None
            try:
                if not typed:
                    raise ValueError(self.words.said["needed"])
                return read(typed)
            except ValueError as error:
                self.say(f"  {self.words.wanted_in_words(error)}")

    def _checked(self, name: str, given: Any, read: Callable[[str], Any]) -> Any:
        if isinstance(given, list | Mapping):
            raise UsageFault(f"{name}: one text is wanted, not {type(given).__name__}")
        try:
            return read(str(given).strip())
        except ValueError as error:
            raise UsageFault(f"{name}: {str(given)[:80]!r}: {error}") from None

    def _find(self, name: str) -> Any:
        """`name`, or what stands deeper: `displays.1.8.0` is `1.8.0` of `displays`."""
        if name in self._given:
            return self._given[name]
        group, _, key = name.partition(".")
        inner = self._given.get(group)
        return inner.get(key) if isinstance(inner, Mapping) else None
