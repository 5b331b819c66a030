"""SQLite files that hold readings: synced before they answer, checked before they are used, healed when damaged.

Rule 1. A commit has reached the disk when it returns (write-ahead log, synchronous=FULL).
Rule 2. A damaged file never blocks the start and is never deleted. It is set aside under the time it was found, and
        every row that proves itself by its digest is copied, under its own key, into a new file.
Rule 3. A new file takes its name when it is whole. Whatever step a power cut finds us in, the next start repeats it or
        goes on behind it.
Rule 4. One process owns a file (a lock beside it). Another may change it for a moment, through SQLite's own locks.
"""
