"""A process that writes marks into a database and tells each one that was acknowledged.

    python sqlite_writer.py FILE NAME COUNT SYNCHRONOUS

It says `ready` once the file is open and starts when it reads a line.
"""

import asyncio
import sqlite3
import sys
from functools import partial
from pathlib import Path

from ion.adapters.sqlite import database as subject
from ion.adapters.sqlite.database import Database
from ion.ports.ledger import Changes


async def write_marks(file: Path, name: str, count: int, synchronous: str) -> None:
    subject._PATIENCE_S = 120.0  # whoever has the lock may have to wait for a processor
    async with Database(file, synchronous=synchronous) as database:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for number in range(count):
            await database.write(partial(_mark, name=name, number=number), changes=Changes.ENDED)
            print(number, flush=True)


def _mark(connection: sqlite3.Connection, name: str, number: int) -> None:
    connection.execute("INSERT INTO marks (name, number) VALUES (?, ?)", (name, number))


if __name__ == "__main__":
    asyncio.run(write_marks(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]))
