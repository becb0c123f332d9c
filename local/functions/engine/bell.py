"""Wake everything that waits for a change, within one asyncio loop."""

import asyncio
import contextlib


class Bell:
    """Rung after every commit. A ring is heard by all who wait at that moment."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self, seconds: float | None) -> None:
        """Sleep until the next ring, or until the time is up.

        No ring between a check and this call is missed, because nothing else runs in between on the same loop.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
