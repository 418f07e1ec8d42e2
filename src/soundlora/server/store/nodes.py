"""Nodes: who does requests now, and which of them are to take no more.

A row belongs to one process. Many processes may bear the name of one machine.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa

from soundlora.server.store.database import Database
from soundlora.server.store.tables import nodes

FINISH, NOW = "finish", "now"
"""How a node is drained: what runs there may end, or is given back at once."""
SILENT_SECONDS = 60.0
"""A node that was not seen for so long is taken for gone."""
_FORGOTTEN_SECONDS = 86400.0


@dataclass(frozen=True)
class Node:
    """seen: when its process last wrote, in seconds since 1970. slots: trainings at a time. draining: "", or how.

    free: slots without a training. most: slots that it may give to one training, 0 where it takes none. takes: ids of
    the endpoints that it takes, with commas between them; "" is all.
    """

    id: str
    name: str
    seen: float
    slots: int
    running: int
    draining: str
    free: int = 0
    most: int = 0
    takes: str = ""

    @property
    def gone(self) -> bool:
        return time.time() - self.seen > SILENT_SECONDS


class Nodes:
    """The table of nodes of `database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def seen(
        self, id: str, name: str, slots: int, running: int, *, free: int = 0, most: int = 0, takes: str = ""
    ) -> None:
        """Note that a node lives, with the values of `Node`. Those that were not seen for a day are forgotten."""
        now = time.time()
        values = {"seen": now, "slots": slots, "running": running, "free": free, "most": most, "takes": takes}
        with self._database.write() as connection:
            if not connection.execute(sa.update(nodes).where(nodes.c.id == id).values(values)).rowcount:
                connection.execute(sa.insert(nodes).values(id=id, name=name, draining="", **values))
            connection.execute(sa.delete(nodes).where(nodes.c.seen < now - _FORGOTTEN_SECONDS))

    def draining(self, id: str) -> str:
        """Return "", or how a node is to be drained."""
        with self._database.read() as connection:
            return connection.scalar(sa.select(nodes.c.draining).where(nodes.c.id == id)) or ""

    def drain(self, name: str, how: str) -> int:
        """Let the nodes of that name, or the one of that id, take no more requests; "" undoes it. Return how many."""
        mine = sa.or_(nodes.c.name == name, nodes.c.id == name)
        with self._database.write() as connection:
            return connection.execute(sa.update(nodes).where(mine).values(draining=how)).rowcount

    def keeps(self, id: str, free: int, gpus: int, endpoint: str) -> bool:
        """Return whether this node keeps its free slots for a request of more, until it has enough of them.

        Of all nodes that may take it, the one with the most free slots does, and of several the one with the last id.
        Since that one takes nothing else, the most that is free anywhere only grows until the request is taken.
        """
        able = (
            node for node in self.list() if node.id != id and not node.gone and not node.draining and node.most >= gpus
        )
        others = [node for node in able if not node.takes or endpoint in node.takes.split(",")]
        return all((node.free, node.id) < (free, id) for node in others)

    def leave(self, id: str) -> None:
        """Forget a node that has ended in good order."""
        with self._database.write() as connection:
            connection.execute(sa.delete(nodes).where(nodes.c.id == id))

    def list(self) -> list[Node]:
        """Return all nodes in order of name."""
        with self._database.read() as connection:
            return [Node(*row) for row in connection.execute(sa.select(nodes).order_by(nodes.c.name, nodes.c.id))]
