"""`python -m tests.buses.servicebus_double PORT FOLDER`: serves until it is killed; takes commands on its input.

FOLDER holds the journal and the certificate (`server.pem`). Commands, a line each: `busy N` refuses the next N sends,
`unlock` loses every lock, `refuse` and `allow` say whether tokens are accepted.
"""

import asyncio
import ssl
import sys
from contextlib import suppress
from pathlib import Path

from tests.buses.servicebus_double.administration import Administration
from tests.buses.servicebus_double.amqp import AmqpConnection
from tests.buses.servicebus_double.broker import Broker

TICK_S = 0.05


class Front:
    """Tells AMQP from TLS by the first bytes of a connection."""

    def __init__(self, broker: Broker, tls_port: int) -> None:
        self._broker = broker
        self._tls_port = tls_port
        self._connections: set[AmqpConnection] = set()
        self._due = False
        broker.on_news = self._wake

    def _wake(self) -> None:
        """Later, and once: what made the news may be in the middle of a connection's work."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._due = False
        for connection in list(self._connections):
            connection.pump()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            first = await reader.read(4096)
            await (self._amqp(first, reader, writer) if first[:4] == b"AMQP" else self._tls(first, reader, writer))
        writer.close()

    async def _amqp(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = AmqpConnection(self._broker, writer)
        self._connections.add(connection)
        try:
            data = first
            while data:
                connection.take(data)
                await writer.drain()
                data = await reader.read(64 * 1024)
        finally:
            self._connections.discard(connection)
            connection.end()

    async def _tls(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near_reader, near_writer = await asyncio.open_connection("127.0.0.1", self._tls_port)
        near_writer.write(first)
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(reader, near_writer))
            group.create_task(_copy(near_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(64 * 1024):
            writer.write(piece)
            await writer.drain()
    writer.close()


async def _commands(broker: Broker) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().split():
        match line:
            case ["busy", count]:
                broker.busy = int(count)
            case ["unlock"]:
                for queue in broker.queues.values():
                    queue.lose_locks()
            case ["refuse" | "allow" as word]:
                broker.refuses = word == "refuse"
        print("done", flush=True)


async def main(port: int, folder: Path) -> None:
    broker = Broker(folder / "journal")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem")
    tls = await asyncio.start_server(Administration(broker).serve, "127.0.0.1", 0, ssl=context)
    front = Front(broker, tls.sockets[0].getsockname()[1])
    server = await asyncio.start_server(front.serve, "127.0.0.1", port)
    commands = asyncio.create_task(_commands(broker), name="commands")
    print(f"serving {server.sockets[0].getsockname()[1]}", flush=True)
    while not commands.done():  # its input ends when the one who started it is gone
        broker.tick()
        await asyncio.sleep(TICK_S)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
