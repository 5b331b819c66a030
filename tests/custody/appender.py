"""A process that appends to a spool for ever and says each batch when it has been committed. Somebody kills it."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from tests.custody.boxes import append, outbox


def main(path: Path, max_bytes: int) -> None:
    box = outbox(path, max_bytes=max_bytes)
    chance = random.Random()
    print("open", box.id, box.damage, flush=True)
    while True:
        entry = append(box, chance.choice(["keep", "interval", "interval"]), size=chance.choice([50, 2000, 20_000]))
        print("promised", entry.spool, entry.sequence, entry.sha256, entry.class_, flush=True)
        for entry in box.pending(chance.choice([0, 1, 3])):
            print("settled", entry.spool, entry.sequence, entry.sha256, entry.class_, flush=True)
            box.settle(entry.spool, entry.sequence, entry.sha256)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
