"""Parts of a file arrive one by one, in any order, and become one file."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable

from soundlora.server.http.errors import Refusal
from soundlora.server.store.files import FileRow, Files, parts_folder

MOST_PARTS = 10_000
_COUNTED_UPLOADS = 1000


class Parts:
    """The parts of all uploads of this server. Any server on the same storage may receive the next part."""

    def __init__(self, files: Files, max_bytes: int) -> None:
        self._files = files
        self._max_bytes = max_bytes
        self._received: OrderedDict[str, int] = OrderedDict()
        self._joining: dict[str, asyncio.Task[None]] = {}

    def key(self, file_id: str, number: int) -> str:
        """Return the key of a part in the storage. Raises Refusal for a number that no part can have."""
        if not 1 <= number <= MOST_PARTS:
            raise Refusal(400, "bad_request", f"Part {number} can't be: parts are numbered from 1 to {MOST_PARTS}.")
        return f"{parts_folder(file_id)}/{number}"

    async def count(self, file_id: str, size: int) -> None:
        """Count `size` bytes that have arrived. Deletes the upload and raises Refusal when it has become too large."""
        total = self._received.pop(file_id, 0) + size
        if total > self._max_bytes:
            # A part that was sent again has been counted twice, so the parts themselves are measured.
            total = sum((await asyncio.to_thread(self._sizes, file_id)).values())
        if total > self._max_bytes:
            await asyncio.to_thread(self._files.delete, file_id)
            raise too_large(self._max_bytes)
        self._received[file_id] = total
        if len(self._received) > _COUNTED_UPLOADS:
            self._received.popitem(last=False)

    async def join(self, row: FileRow, numbers: Collection[int], lifetime: float | None) -> None:
        """Put the parts together in the order of their numbers.

        A client that asks again meanwhile waits for the same work. Raises Refusal when a part is missing or the file is
        too large.
        """
        if row.id not in self._joining:
            task = asyncio.create_task(self._join(row, sorted(numbers), lifetime))
            self._joining[row.id] = task
            task.add_done_callback(lambda _: self._joining.pop(row.id, None))
        await asyncio.shield(self._joining[row.id])
        self._received.pop(row.id, None)

    async def _join(self, row: FileRow, numbers: list[int], lifetime: float | None) -> None:
        sizes = await asyncio.to_thread(self._sizes, row.id)
        missing = [number for number in numbers if number not in sizes]
        if missing or not numbers:
            found = await asyncio.to_thread(self._files.find, row.id)
            if found is not None and found.size is not None:
                return  # Another server has put them together already.
            what = f"part {missing[0]} of the file has not arrived" if missing else "no part is named"
            raise Refusal(400, "bad_request", f"The upload can't be completed: {what}.")
        size = sum(sizes[number] for number in numbers)
        if size > self._max_bytes:
            raise too_large(self._max_bytes)
        await self._files.storage.join(row.key, [self.key(row.id, number) for number in numbers])
        await asyncio.to_thread(self._files.complete, row.id, size, lifetime=lifetime)
        await asyncio.to_thread(self._remove, row.id, sizes)

    def _remove(self, file_id: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._files.storage.delete(self.key(file_id, number))

    def _sizes(self, file_id: str) -> dict[int, int]:
        """Return the size in bytes of each part that has arrived."""
        folder = parts_folder(file_id)
        return {int(key.rpartition("/")[2]): size for key, size in self._files.storage.list(folder)}


def too_large(most: int) -> Refusal:
    """Return the refusal of a file that is larger than `most` bytes."""
    return Refusal(413, "filetoo_large", f"The file is larger than the {most:,} bytes that this server takes.")
