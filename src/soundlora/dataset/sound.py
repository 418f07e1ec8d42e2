"""One file of a data set as it is decoded and fitted, and what of it is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from soundlora.dataset.caption_source import CaptionRule
from soundlora.dataset.decode import Audio, decode
from soundlora.dataset.fit import Fitted, bucket_of, fit
from soundlora.dataset.members import Member, hash_of, on_disk
from soundlora.dataset.problems import UnusableClipError


@dataclass(frozen=True)
class Ways:
    """How clips are brought to their buckets, of `durations` in seconds."""

    durations: tuple[float, ...]
    pad: bool
    normalize: bool
    preserve_pitch: bool


@dataclass(frozen=True, eq=False)
class Sound:
    """A file as it was decoded and fitted, as far as that went, and why it went no further. `tags` are its own."""

    sha256: str
    bucket: float = 0.0  # seconds
    tags: Mapping[str, str] = field(default_factory=dict)
    audio: Audio | None = None
    fitted: Fitted | None = None
    problem: UnusableClipError | None = None

    def usable(self) -> Fitted:
        """Return the fitted sound, or raise the problem with it."""
        if self.problem is not None:
            raise self.problem
        assert self.fitted is not None
        return self.fitted

    def fingerprint(self) -> bytes:
        assert self.audio is not None
        return fingerprint(self.audio)


def fingerprint(audio: Audio) -> bytes:
    """Return a hash that no other recording has, of every seventh sample, which takes a seventh of the time."""
    return hashlib.sha256(audio.samples[:, ::7].tobytes()).digest()


def read(member: Member, target: Path, ways: Ways, rule: CaptionRule | None = None) -> Sound:
    """Unpack a file to `target`, a name of ours; decode and fit it, and read its tags where a rule asks for them."""
    found = Sound("")
    with on_disk(member, target) as (path, unpacked):
        try:
            found = Sound(unpacked or hash_of(member))
            found = replace(found, tags=rule.tags_of(path) if rule else {})
            audio = decode(path, max(ways.durations))
            found = replace(found, audio=audio, bucket=bucket_of(audio, ways.durations))
            how = {"normalize": ways.normalize, "preserve_pitch": ways.preserve_pitch, "pad": ways.pad}
            return replace(found, fitted=fit(audio, found.bucket, **how))
        except UnusableClipError as error:
            return replace(found, problem=error)


def check_pair(found: Sound, reference: Sound, partner: Member) -> None:
    """Raise UnusableClipError when the start of a pair can't be used, or is the end itself."""
    try:
        reference.usable()
    except UnusableClipError as error:
        raise UnusableClipError(f"its start {partner.name} can't be used: {error.reason}", error.problem) from None
    if found.fingerprint() == reference.fingerprint():
        raise UnusableClipError(f"its start {partner.name} is the same sound, so there is nothing to learn", "same")


def losses(audio: Audio) -> list[str]:
    """Return clauses about what of a file was lost, and what had to be done to get its sound."""
    warnings = []
    if audio.truncated and audio.claimed_seconds is not None:
        warnings.append(
            f"it is cut off or damaged: {audio.seconds:.2f} s are there of the {audio.claimed_seconds:.2f} s it claims"
        )
    elif audio.truncated:
        warnings.append(f"its end is missing: {audio.seconds:.2f} s are there, how much is lost nothing says")
    if audio.damaged_packets:
        count = audio.damaged_packets
        warnings.append(f"{count} damaged {'piece' if count == 1 else 'pieces'} of it could not be decoded")
    return [*warnings, *audio.notes]
