"""What the server made for itself."""

from soundlora.server.store.database import Database
from soundlora.server.store.secrets import secret


def test_a_secret_is_made_once(database: Database) -> None:
    assert secret(database, "sign", lambda: "first") == "first"
    assert secret(database, "sign", lambda: "second") == "first"
    assert secret(database, "other", lambda: "third") == "third"


def test_of_two_servers_the_quicker_one_counts(database: Database) -> None:
    def while_another_server_makes_it() -> str:
        assert secret(database, "sign", lambda: "theirs") == "theirs"
        return "mine"

    assert secret(database, "sign", while_another_server_makes_it) == "theirs"
