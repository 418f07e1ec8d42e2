"""The report: sums, the suggested bucket, and its JSON."""

import json

import pytest

from soundlora.dataset.report import ClipReport, DatasetReport, IgnoredFile, suggest, suggest_windows
from soundlora.dataset.windows import windows_in

KEPT = ClipReport("a.wav", "kept", "rain", seconds=8.123456, used_seconds=5.0, peak_dbfs=-6.0206)
SKIPPED = ClipReport("b.wav", "skipped", "", reason="it is 2.00 s long", problem="too_short", seconds=2.0)


def test_kept_and_skipped_are_told_apart_and_summed() -> None:
    report = DatasetReport("set.zip", 5.0, [KEPT, SKIPPED, KEPT])
    assert report.kept == [KEPT, KEPT]
    assert report.skipped == [SKIPPED]
    assert report.total_seconds == 10.0


def test_json_is_plain_rounded_and_in_a_fixed_order() -> None:
    report = DatasetReport("set.zip", 5.0, [KEPT, SKIPPED], orphan_captions=["x.txt"], warnings=["W."])
    plain = report.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert (plain["kept"], plain["skipped"], plain["total_seconds"]) == (1, 1, 5.0)
    assert plain["clips"][0]["seconds"] == 8.1235
    assert plain["clips"][1]["reason"] == "it is 2.00 s long"
    assert plain["clips"][1]["peak_dbfs"] is None
    assert (plain["orphan_captions"], plain["warnings"]) == (["x.txt"], ["W."])
    assert list(plain) == list(DatasetReport("other", 1.0, []).to_json())


@pytest.mark.parametrize(
    ("seconds", "clips", "sound"),
    [
        ([], None, None),
        ([0.3], None, None),
        ([0.45] * 5 + [1.0], (1.0, 1), None),  # 1 s trains one, which is better than none
        ([4.37], (4.3, 1), None),
        ([4.9999], (5.0, 1), None),
        ([4.97, 5.0], (5.0, 2), None),  # within the tolerance of one latent frame
        ([2.0, 2.1, 2.2, 30.0], (2.0, 4), (20.0, 1)),
        ([3.0, 10.0, 10.0], (3.0, 3), (10.0, 2)),
        ([50.0, 45.0], (20.0, 2), None),
        ([1.0] * 11 + [2.0] * 14 + [0.45] * 5, (1.0, 25), (2.0, 14)),
    ],
)
def test_buckets_are_suggested_for_most_clips_and_for_most_sound(
    seconds: list[float], clips: tuple[float, int] | None, sound: tuple[float, int] | None
) -> None:
    found = [(bucket.duration, bucket.clips) for bucket in suggest(seconds)]
    assert found == [each for each in (clips, sound) if each is not None]
    assert all(bucket.seconds == pytest.approx(bucket.duration * bucket.clips) for bucket in suggest(seconds))


def test_the_advice_says_what_each_bucket_does() -> None:
    lengths = [1.0] * 11 + [2.0] * 14 + [0.45] * 5
    clips = [ClipReport(f"{number}.wav", "kept", "", seconds=length) for number, length in enumerate(lengths)]
    report = DatasetReport("set.zip", 5.0, clips)
    assert report.advice == "1 s keeps 25 of 30 clips, 25 s of sound; 2 s keeps 14 of 30 clips, 28 s of sound"
    assert report.to_json()["suggestions"][1] == {"duration": 2.0, "clips": 14, "seconds": 28.0}
    assert DatasetReport("set.zip", 5.0, []).advice == ""


@pytest.mark.parametrize(
    ("seconds", "found"),
    [
        ([], []),
        ([0.3], []),
        ([5.0], [(5.0, 1)]),
        ([600.0], [(20.0, 30)]),
        ([23.2, 6.0], [(6.0, 4), (5.8, 5)]),
        ([600.0, 3.0], [(3.0, 201), (20.0, 30)]),  # one that uses more is shorter by far, and little better
        ([0.3, 1.9], [(1.9, 1)]),
        ([59.0, 61.0], [(20.0, 5), (19.6, 6)]),
    ],
)
def test_with_windows_buckets_are_suggested_by_windows(seconds: list[float], found: list[tuple[float, int]]) -> None:
    buckets = suggest_windows(seconds)

    assert [(bucket.duration, bucket.clips) for bucket in buckets] == found
    for bucket in buckets:
        assert bucket.clips == sum(windows_in(length, bucket.duration) for length in seconds)
        assert bucket.seconds == pytest.approx(bucket.clips * bucket.duration)
    # No bucket that is longer uses nearly as much.
    most = max((d / 10 * sum(windows_in(length, d / 10) for length in seconds) for d in range(5, 201)), default=0)
    for tenth in range(round(buckets[-1].duration * 10) + 1 if buckets else 201, 201):
        assert tenth / 10 * sum(windows_in(length, tenth / 10) for length in seconds) < 0.95 * most


def test_with_windows_the_report_suggests_and_advises_by_windows() -> None:
    clips = [
        ClipReport("a.wav", "skipped", "", problem="silent", seconds=23.2),
        ClipReport("a.wav @ 5 s", "kept", "", seconds=23.2, offset=5.0),
        ClipReport("b.wav", "kept", "", seconds=6.0),
    ]
    report = DatasetReport("set.zip", 5.0, clips, windows="all")

    assert report.to_json()["suggestions"] == [
        {"duration": 6.0, "clips": 4, "seconds": 24.0},
        {"duration": 5.8, "clips": 5, "seconds": 29.0},
    ]
    assert {bucket.duration: bucket.clips for bucket in report.buckets}[5.8] == 5
    assert report.advice == "6 s makes 4 clips, 24 s of sound; 5.8 s makes 5 clips, 29 s of sound"


def test_silent_clips_do_not_suggest() -> None:
    silent = ClipReport("c.wav", "skipped", "", problem="silent", seconds=9.0)
    assert [each.duration for each in DatasetReport("set.zip", 5.0, [SKIPPED, silent]).suggestions] == [2.0]


def test_buckets_say_what_each_length_would_keep() -> None:
    lengths = [2.0, 4.98, 5.5, 11.0]
    clips = [ClipReport(f"{number}.wav", "kept", "", seconds=length) for number, length in enumerate(lengths)]
    clips += [
        ClipReport("s.wav", "skipped", "", problem="silent", seconds=30.0),
        ClipReport("u.wav", "skipped", "", problem="undecodable"),
    ]
    report = DatasetReport("set.zip", 7.0, clips)
    found: dict[float, object] = {bucket.duration: (bucket.clips, bucket.seconds) for bucket in report.buckets}
    assert list(found) == sorted(found)
    assert [each.duration for each in report.suggestions] == [2.0, 4.9]
    assert found[4.9] == (3, pytest.approx(14.7))
    assert found[5.0] == (3, 15.0)
    assert found[6.0] == (1, 6.0)
    assert found[7.0] == (1, 7.0)  # the chosen one
    assert max(found) == 10.0  # no clip fills 12 s
    assert report.to_json()["buckets"][0] == {"duration": 0.5, "clips": 4, "seconds": 2.0}


def test_ignored_files_and_duplicates_are_in_the_json() -> None:
    report = DatasetReport("set.zip", 5.0, [], ignored=[IgnoredFile("a.png", "why")], duplicates=[["a", "b"]])
    assert report.to_json()["ignored"] == [{"name": "a.png", "reason": "why"}]
    assert report.to_json()["duplicates"] == [["a", "b"]]
