"""What a key may take of the server, as its holder sees it."""

from __future__ import annotations

from pathlib import Path

from browsing import Server
from playwright.sync_api import Browser, expect

from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.keys import Keys


def test_a_key_sees_its_limits_and_what_it_takes(browser: Browser, server: Server, tmp_path: Path) -> None:
    database = Database(Settings(data_dir=tmp_path).database)
    database.migrate()
    key, secret = Keys(database).create("me")
    Keys(database).change(key.id, {"max_queue": 20, "budget": 2500, "weight": 2.5})
    database.close()
    locked = Server(tmp_path)
    try:
        page = browser.new_page()
        page.goto(locked.url + "/#/settings")
        page.get_by_label("Key", exact=True).fill(secret)
        page.get_by_role("button", name="Save").click()
        limits = page.locator("section", has=page.get_by_role("heading", name="Limits"))
        expect(limits.locator("dl > div")).to_have_count(5)
        assert dict(
            zip(limits.locator("dt").all_inner_texts(), limits.locator("dd").all_inner_texts(), strict=True)
        ) == {
            "Running": "0",
            "Waiting": "0 of at most 20",
            "Units this month": "0 of at most 2,500",
            "Last hour": "0 s on the machines",
            "Share": "weight 2.5 beside the other keys",
        }
        page.close()
    finally:
        locked.stop()
