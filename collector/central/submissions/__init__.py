"""The forms in which utilities take readings; a utility's profile names one for each file that it wants.

A form is a row in `FORMS` and a module here, which gives

`Output`: what the profile says of it: a strict section with the keys `format` and `file` (the pattern of its name);
`write(output, head, file)`: a `Writer`, which gets the rows of one account after the other, in the order of
billing.csv, and says what it leaves out and why.

A submission depends on ledger rows and profile alone: no clock, no path. Numbers are sent as the ledger has them, cut.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from collector.central.submissions import building_list, iec61968, messages, phone_sheet, registry_file

FORMS = {
    "messages": messages,
    "phone": phone_sheet,
    "registry": registry_file,
    "building": building_list,
    "iec61968-9": iec61968,
}

Output = Annotated[
    messages.Output | phone_sheet.Output | registry_file.Output | building_list.Output | iec61968.Output,
    Field(discriminator="format"),
]
