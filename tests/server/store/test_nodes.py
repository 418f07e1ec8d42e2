"""Nodes are seen, drained by name or id, and forgotten."""

import sqlalchemy as sa

from soundlora.server.store.database import Database
from soundlora.server.store.nodes import FINISH, NOW, SILENT_SECONDS, Nodes
from soundlora.server.store.tables import nodes


def test_a_node_is_drained_by_its_name_and_by_its_id(database: Database) -> None:
    table = Nodes(database)
    for id, name in (("a", "left"), ("b", "left"), ("c", "right")):
        table.seen(id, name, slots=2, running=1)
    assert table.drain("left", FINISH) == 2
    assert table.drain("c", NOW) == 1
    assert table.drain("nobody", NOW) == 0
    table.seen("a", "left", slots=2, running=0)
    assert [(node.id, node.running, node.draining) for node in table.list()] == [
        ("a", 0, FINISH),
        ("b", 1, FINISH),
        ("c", 1, NOW),
    ]
    table.drain("left", "")
    assert (table.draining("a"), table.draining("c"), table.draining("unknown")) == ("", NOW, "")
    table.leave("c")
    assert [node.id for node in table.list()] == ["a", "b"]


def test_a_node_that_is_not_seen_is_gone_and_then_forgotten(database: Database) -> None:
    table = Nodes(database)
    for id, age in (("a", SILENT_SECONDS + 1), ("b", 2 * 86400)):
        table.seen(id, id, slots=1, running=1)
        with database.write() as connection:
            connection.execute(sa.update(nodes).where(nodes.c.id == id).values(seen=nodes.c.seen - age))
    table.seen("c", "c", slots=1, running=0)
    assert [(node.id, node.gone) for node in table.list()] == [("a", True), ("c", False)]
