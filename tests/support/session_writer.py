"""A process that writes sessions: ``python session_writer.py URL DATA_DIR COMMAND ...``."""

from __future__ import annotations

import asyncio
import sys
from itertools import count

from modelhost.config.settings import Settings
from modelhost.state.store import StateStore


async def hold(store: StateStore, session_id: str) -> None:
    """Have a session for ever."""
    async with store.sessions.hold(session_id):
        sys.stdout.write("held\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def turns(store: StateStore, session_id: str, name: str, number: str) -> None:
    """Add turns of three messages, and check that nobody else does so meanwhile."""
    for at in range(int(number)):
        async with store.sessions.hold(session_id) as session:
            before = len(session.messages)
            question = {"role": "user", "content": f"{name} {at}"}
            await session.append([question])
            await asyncio.sleep(0)
            await session.append([{"role": "assistant", "content": f"{name} {at}"}, {**question, "last": True}])
            assert len(session.messages) == before + 3
    await store.close()


async def many(store: StateStore, sessions: str) -> None:
    """Add numbered messages to many sessions at once; tell each when it is stored."""

    async def write(name: str) -> None:
        for number in count():
            async with store.sessions.hold(name) as session:
                await session.append([{"role": "user", "content": f"{number}"}])
            sys.stdout.write(f"{name} {number}\n")
            sys.stdout.flush()

    await asyncio.gather(*(write(f"s{at}") for at in range(int(sessions))))


def main() -> None:
    """Do what is asked."""
    url, data_dir, command, *arguments = sys.argv[1:]
    settings = Settings.model_validate(
        {"database_url": url, "data_dir": data_dir, "max_session_messages": 100_000, "session_timeout": 60.0}
    )

    async def run() -> None:
        await {"hold": hold, "turns": turns, "many": many}[command](StateStore(settings), *arguments)

    asyncio.run(run())


if __name__ == "__main__":
    main()
