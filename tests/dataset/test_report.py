"""The report: sums, the suggested bucket, and its JSON."""

import json

import pytest

from soundlora.dataset.report import ClipReport, DatasetReport, IgnoredFile, suggest_duration

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
    ("seconds", "bucket"),
    [
        ([], None),
        ([0.3], None),
        ([0.3, 0.3, 0.3, 4.0], None),  # fewer than half fill any bucket
        ([4.37], 4.3),
        ([4.9999], 5.0),
        ([4.97, 5.0], 5.0),  # within the tolerance of one latent frame
        ([2.0, 2.1, 2.2, 30.0], 2.0),
        ([3.0, 10.0, 10.0], 10.0),
        ([50.0, 45.0], 20.0),
    ],
)
def test_the_suggested_bucket_uses_most_of_the_sound(seconds: list[float], bucket: float | None) -> None:
    assert suggest_duration(seconds) == bucket


def test_silent_clips_do_not_suggest() -> None:
    silent = ClipReport("c.wav", "skipped", "", problem="silent", seconds=9.0)
    assert DatasetReport("set.zip", 5.0, [SKIPPED, silent]).suggested_duration == 2.0


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
    assert report.suggested_duration == 4.9
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
