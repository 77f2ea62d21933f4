"""Another process of Python, for what must hold between processes and over a SIGKILL."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def running(program: str) -> AsyncIterator[asyncio.StreamReader]:
    """Runs Python source; gives its output, and kills it with SIGKILL when the context is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
