"""The calculation from measured costs to larger clusters."""

from cluster_model import LIMITS, Costs, breaks_at, loads, rows_of, table_of

COSTS = Costs(
    {
        "submit": 0.4,
        "claim": 0.4,
        "progress": 0.1,
        "lines": 0.4,
        "look": 0.05,
        "states": 1.0,
        "log": 0.1,
        "finish": 0.5,
    },
    server_ms_per_viewer=0.3,
)


def test_every_part_is_used_more_by_a_larger_cluster() -> None:
    small, large = loads(COSTS, 10, 10_000), loads(COSTS, 1000, 1_000_000)
    assert set(small) == {limit.name for limit in LIMITS}
    assert all(large[name] > 50 * small[name] for name in ("Postgres cores", "server cores", "GB of tables a day"))


def test_a_part_breaks_where_its_load_is_its_limit() -> None:
    for limit in LIMITS:
        gpus = breaks_at(COSTS, limit, limit.usual)
        assert loads(COSTS, gpus * 1.01, gpus * 1010)[limit.name] >= limit.usual
        assert loads(COSTS, gpus * 0.98, gpus * 980)[limit.name] <= limit.usual
        assert breaks_at(COSTS, limit, limit.raised) > gpus


def test_beats_with_lines_alone_cost_what_they_were_measured_to() -> None:
    dear = Costs(dict(COSTS.database_ms) | {"lines": 1.4}, COSTS.server_ms_per_viewer)
    more = loads(dear, 100, 10_000)["Postgres cores"] - loads(COSTS, 100, 10_000)["Postgres cores"]
    assert abs(more - 100 * 0.1 * 1.0 / 1000) < 1e-9


def test_the_table_names_all_sizes_and_orders_what_breaks() -> None:
    text = table_of(COSTS)
    assert len(rows_of(COSTS)) == 12
    assert "| 1,000 | 1,000,000 |" in text
    firsts = [line.split("|")[1].strip() for line in text.splitlines() if " GPUs | " in line and "breaks" not in line]
    at = [breaks_at(COSTS, limit, limit.usual) for name in firsts for limit in LIMITS if limit.name == name]
    assert at == sorted(at)
    assert len(at) == len(LIMITS)
