"""All outputs of 100,000 billed rows: every form at once, as a close writes them."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from collector.central import utility
from collector.central.submissions.folder import Submissions
from tests.bench.figure import Figure
from tests.central.test_submissions import CLOSED, row

ACCOUNTS, TARIFFS = 33_334, 3
OUTPUTS = """schema: 1
id: bench
title: Every form
labels: {1.8.1: T1, 1.8.2: T2, 1.8.3: T3}
outputs:
  - {format: messages, file: sms.txt, line: "{account} {values}"}
  - {format: phone, file: phone.txt}
  - {format: building, file: buildings.csv}
  - {format: iec61968-9, file: readings.xml}
  - format: registry
    file: registry.csv
    encoding: windows-1251
    per: meter
    columns:
      - {title: account, value: "{account}"}
      - {title: address, value: "{address}"}
      - {title: T1, value: "{end 1.8.1}"}
    trailer: [total, "{rows}", "{sum_end 1.8.1}"]
"""


def figures() -> Iterator[Figure]:
    """CPU seconds of writing them, files synced to the disk."""
    profile = utility.parse(OUTPUTS.encode(), "bench.yaml")
    rows = [
        row(f"4347{account:08d}", f"1.8.{tariff}", str(account * tariff), tariffs=TARIFFS, flat=str(account % 300))
        for account in range(ACCOUNTS)
        for tariff in range(1, TARIFFS + 1)
    ]
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        made = Submissions(Path(folder), profile.head("2026-10", 1, CLOSED), profile.outputs)
        made.add(rows)
        files = made.finish()
        made.close()
        spent = time.process_time() - start
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield Figure(
        "submissions of 100,000 rows, five forms: s of CPU",
        f"{spent:.1f}",
        "20",
        f"{len(rows):,} rows, {len(files)} files, {size / 1e6:.0f} MB; {peak:.0f} MiB resident with the rows",
    )
