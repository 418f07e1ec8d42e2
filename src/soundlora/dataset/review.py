"""The review warns about a data set as a whole. The report of each clip stands apart from it."""

import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from soundlora.dataset.captions import one_line, style
from soundlora.dataset.cut_plan import PLAN_NAME
from soundlora.dataset.fit import PEAK_DBFS, TOLERANCE_SECONDS
from soundlora.dataset.report import MAX_TRAINED_DURATION, ClipReport, DatasetReport
from soundlora.dataset.windows import window_name, windows_in
from soundlora.wording import using

ADVISED_CLIPS = 10

_LOUDNESS_SPREAD_DB = 12.0
_MUCH_MORE = 2.0
# Captions of another style are exceptions and no second style when their share is smaller than this.
_STYLE_SHARE = 0.2
# Quick speech. Chinese and Japanese have a sign for a syllable or so, and no spaces.
_WORDS_A_SECOND = 3.0
_SIGNS_A_SECOND = 6.0
_SYLLABLE_SIGN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_QUOTED = re.compile(r"[\"“„«「]([^\"“”„«»「」]+)[\"”“»」]")
_QUOTED_WORDS = 3
# Captions describe long recordings in few words, which are no transcript of them.
_BY_FAR = 1.5
_SPOKEN_SHARE = 0.4
_CUT_SECONDS = 0.5


def review(
    report: DatasetReport,
    texts: Mapping[str, str],
    *,
    normalize: bool,
    trigger_phrase: str = "",
    validation_prompts: Sequence[str] = (),
) -> list[str]:
    """Return one sentence for each thing that is likely to disappoint.

    `texts` are the captions without the trigger phrase, by the names of their clips.
    """
    kept = report.kept
    warnings = []
    if 0 < len(kept) < ADVISED_CLIPS:
        count = "1 clip" if len(kept) == 1 else f"{len(kept)} clips"
        warnings.append(f"Only {count} will be trained on; {ADVISED_CLIPS} or more are advised.")
    if report.duration > MAX_TRAINED_DURATION:
        warnings.append(
            f"The bucket of {report.duration:g} s is long: the base was trained on up to {MAX_TRAINED_DURATION:g} s."
        )
    warnings += _padding(kept)
    warnings += unused(report)
    warnings += _loudness(kept, normalize)
    warnings += _spoken(kept, texts)
    warnings += _shared(report, texts)
    warnings += _captions({clip.name: texts[clip.name] for clip in kept})
    warnings += [
        f"The same sound is there {len(names)} times: {_list(names)}; it will be learned as often."
        for names in report.duplicates
    ]
    trigger = one_line(trigger_phrase)
    warnings += [
        f"The validation prompt {prompt!r} lacks the trigger phrase {trigger!r}; its preview will not show what was "
        "learned."
        for prompt in validation_prompts
        if trigger.casefold() not in one_line(prompt).casefold()
    ]
    # Hidden files are expected, and so is the plan of a prepared set. The user may have meant others to be used.
    others = [file.name for file in report.ignored if "neither" in file.reason]
    visible = [name for name in others if posixpath.basename(name) != PLAN_NAME]
    if visible:
        warnings.append(f"Ignored, neither audio nor captions: {_list(visible)}.")
    links = [file.name for file in report.ignored if "link" in file.reason]
    if links:
        warnings.append(f"Links were passed over: {_list(links)}; put the files themselves in their place.")
    return warnings


def _padding(kept: list[ClipReport]) -> list[str]:
    """Return what is said where clips are filled with silence."""
    padded = [
        each
        for each in kept
        # One sample may lack beyond the tolerance, and a clip that is filled lacks more.
        if (each.bucket or 0.0) - (each.used_seconds or 0.0) > TOLERANCE_SECONDS + 1.5 / (each.sample_rate or 1)
    ]
    if not padded:
        return []
    are = "is" if len(padded) == 1 else "are"
    return [f"{len(padded)} of {len(kept)} clips {are} filled with silence, which counts nothing in training."]


def unused(report: DatasetReport) -> list[str]:
    """Return a warning where most of the sound is not trained on because clips are longer than the bucket."""
    long = [clip for clip in report.clips if clip.seconds and windows_in(clip.seconds, report.duration) > 1]
    if report.windows == "all" or not long or report.source_seconds < _MUCH_MORE * report.total_seconds:
        return []
    most = sum(windows_in(clip.seconds or 0.0, report.duration) for clip in report.clips)
    return [
        f"{length(report.total_seconds)} of {length(report.source_seconds)} are used: of a longer clip the first "
        f"{report.duration:g} s. {using('windows', 'all')} takes all that fits, up to {most} clips; soundlora prepare "
        "cuts them along silence and onsets."
    ]


def _shared(report: DatasetReport, texts: Mapping[str, str]) -> list[str]:
    """Return a sentence where windows of a recording have the same caption."""
    if report.windows != "all":
        return []
    groups: Counter[tuple[str, str]] = Counter()
    for clip in report.kept:
        groups[clip.name.removesuffix(window_name("", clip.offset)), texts[clip.name]] += 1
    shared = {of: count for of, count in groups.items() if count > 1 and of[1]}
    if not shared:
        return []
    (name, _), most = max(shared.items(), key=lambda each: each[1])
    files = len({file for file, _ in shared})
    of = name if files == 1 else f"{files} recordings, {most} of them in {name}"
    return [
        f"{sum(shared.values())} windows share their captions with others in {of}; a table with a column offset gives "
        "them their own, and soundlora prepare writes a clip and a caption for each piece."
    ]


def length(seconds: float) -> str:
    """Return a length in words: 10 s, 20 min, 1 h 30 min."""
    if seconds < 60:
        return f"{round(seconds, 1):g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else rest, "s")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def _loudness(kept: list[ClipReport], normalize: bool) -> list[str]:
    """Return a warning where the clips differ much in loudness when they are trained on."""
    levels = {}
    for clip in kept:
        level = clip.rms_dbfs if clip.loudness_lufs is None else clip.loudness_lufs
        if level is not None and clip.peak_dbfs is not None:
            levels[clip.name] = level + (PEAK_DBFS - clip.peak_dbfs if normalize else 0.0)
    if not levels:
        return []
    quietest, loudest = min(levels, key=levels.__getitem__), max(levels, key=levels.__getitem__)
    spread = levels[loudest] - levels[quietest]
    if spread <= _LOUDNESS_SPREAD_DB:
        return []
    between = f"The clips differ by {spread:.0f} dB in loudness, from {quietest} to {loudest}"
    return [
        f"{between}, although their peaks are even; compress those with lonely peaks."
        if normalize
        else f"{between}; normalising evens their peaks."
    ]


def _spoken(kept: Sequence[ClipReport], texts: Mapping[str, str]) -> list[str]:
    """Return a warning where captions seem to be what is spoken, and part of that lies after the cut."""
    long = {}
    for clip in kept:
        whole = clip.seconds or 0.0
        used = clip.used_seconds or whole
        spoken = _seconds_to_say(texts[clip.name])
        if whole > used + _CUT_SECONDS and spoken > _BY_FAR * used and spoken > _SPOKEN_SHARE * whole:
            long[clip.name] = spoken
    if not long:
        return []
    name = next(iter(long))
    count = (
        "The caption of 1 trimmed clip takes" if len(long) == 1 else f"The captions of {len(long)} trimmed clips take"
    )
    return [
        f"{count} much longer to say than the clip lasts, such as {name} ({long[name]:.0f} s); if these words are "
        "spoken in it, those after the cut are not heard: take a longer bucket, or cut the caption, too."
    ]


def _seconds_to_say(caption: str) -> float:
    """Return how long it takes to say a caption quickly; of one with speech in quotes, that alone."""
    quoted = " ".join(_QUOTED.findall(caption))
    said = quoted if len(quoted.split()) >= _QUOTED_WORDS else caption
    signs = len(_SYLLABLE_SIGN.findall(said))
    return len(_SYLLABLE_SIGN.sub(" ", said).split()) / _WORDS_A_SECOND + signs / _SIGNS_A_SECOND


def _captions(texts: Mapping[str, str]) -> list[str]:
    warnings = []
    if len(texts) > 1 and len(set(texts.values())) == 1:
        return ["All captions are alike; the model learns to tell sounds apart only where captions differ."]
    without = [name for name, text in texts.items() if not text]
    if 0 < len(without) < len(texts):
        warnings.append(f"{len(without)} of {len(texts)} clips have no caption, the others do: {_list(without)}.")
    styles: dict[str, list[str]] = {}
    for name, text in texts.items():
        if text:
            styles.setdefault(style(text), []).append(name)
    common = {kind: names for kind, names in styles.items() if len(names) >= _STYLE_SHARE * len(texts)}
    if len(common) > 1:
        kinds = [f"{len(names)} as a {kind} (such as {names[0]})" for kind, names in common.items()]
        warnings.append(
            f"Captions are written in different ways: {', '.join(kinds)}; write all in the way you will write prompts."
        )
    return warnings


def _list(items: Sequence[str]) -> str:
    return ", ".join(items[:5]) + (f" and {len(items) - 5} more" if len(items) > 5 else "")
