"""Makes an act at the terminal: from the first question, or from where a dead battery left it, to the spool."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from collector.acts.answers import Answers, Prompt, Say
from collector.acts.finishing import Box, finish, queue
from collector.acts.folder import ActFolder
from collector.acts.interview import make
from collector.acts.journal import Journal
from collector.acts.words import words
from collector.clock import Clock, SystemClock
from collector.commands.act_flags import Place, site_of
from collector.commands.act_wire import Head
from collector.config import load_gateway
from collector.edge import timekeeping
from collector.exits import CheckFailed, UsageFault
from collector.localtime import from_millis
from collector.model_act import Act, Kind

OURS = {"kind", "given", "language", "zone"}  # what the journal begins with, and is no answer to a question


def _say(text: str) -> None:
    click.echo(text, err=True)


def begin(kind: Kind, place: Place, given: dict[str, Any], folder: ActFolder, *, ask: bool) -> Act:
    """Make an act. Raises CheckFailed (5) when it does not admit the meter: it is kept all the same."""
    clock = SystemClock()
    prefix = str(from_millis(clock.millis()).year)
    if place.site.gateway is not None:
        prefix = f"{place.site.gateway}-{prefix}"
    number = given.get("number") or folder.next_number(prefix)
    if folder.place(number).exists() or folder.journal(number).exists():
        raise UsageFault(f"act {number} is made or begun already; `meterline act resume {number}`, or another number")
    journal = Journal(folder.journal(number))
    journal.put("kind", kind)
    journal.put("given", given)
    journal.put("language", place.site.language)
    journal.put("zone", place.site.zone)
    return _concluded(run(journal, place, given, folder, clock=clock, prompt=_prompt if ask else None))


def go_on(
    journal_file: Path,
    config_file: Path | None,
    folder: ActFolder,
    given: dict[str, Any],
    *,
    anew: Iterable[str] = (),
    ask: bool,
) -> Act:
    """Make the rest of an act that was begun. `anew`: answers that are asked for again."""
    journal = Journal(journal_file)
    if "zone" not in journal.answers:
        raise UsageFault(f"{journal_file}: nothing was answered yet; delete it and begin anew")
    for name in anew:
        if name not in journal.answers or name in OURS:
            known = ", ".join(sorted(journal.answers.keys() - OURS))
            raise UsageFault(f"--anew {name}: not answered yet; answered are {known}")
        journal.drop(name)
    given = {**journal.answers["given"], **given}
    place = site_of(config_file, journal.answers["language"], journal.answers["zone"])
    return _concluded(run(journal, place, given, folder, clock=SystemClock(), prompt=_prompt if ask else None))


def run(
    journal: Journal,
    place: Place,
    given: dict[str, Any],
    folder: ActFolder,
    *,
    clock: Clock,
    prompt: Prompt | None,
    say: Say = _say,
) -> Act:
    """The interview and what follows it. Whatever ends it early, the journal has every answer."""
    number = journal.path.stem
    box = place.box
    answers = Answers(journal, given, words(place.site.language), prompt, say)
    with Head(box.config if box else None, place.site.zone, clock) as head:
        made = folder.find(number)  # a power cut may have come behind the act and before the rest
        if made is None:
            try:
                made = make(journal.answers["kind"], number, answers, wire=head, site=place.site, folder=folder)
            except BaseException:
                journal.close()
                say(answers.words.said["kept"].format(number=number))
                raise
        told = {key: answers.beforehand(key) for key in ("baudrate", "framing", "password_file", "meter_time")}
        extra = {key: value for key, value in told.items() if value is not None}
        if "password_file" in extra:  # gateway.d has paths of its own
            extra["password_file"] = str(Path(extra["password_file"]).absolute())
        synced = timekeeping.of_this_computer().synced()
        finish(made, folder, box, extra, now=clock.millis(), synced=synced, say=say)
    journal.finish()
    return made


def _concluded(made: Act) -> Act:
    click.echo(made.number)
    if not made.decision.admitted and made.kind != "refusal":
        texts = words(made.language)
        raise CheckFailed(f"{texts.page['refused']}: {', '.join(texts.grounds[it] for it in made.decision.grounds)}")
    return made


def queue_all(acts: Iterable[Act], folder: ActFolder, config_file: Path) -> None:
    """Those that are not in the spool yet."""
    box = Box(config_file, load_gateway(config_file))
    synced = timekeeping.of_this_computer().synced()
    for item in acts:
        queue(item, folder, box, now=SystemClock().millis(), synced=synced, say=_say)


def _prompt(question: str, proposal: str | None) -> str:
    text: str = click.prompt(question, default=proposal or "", show_default=bool(proposal), err=True)
    return text
