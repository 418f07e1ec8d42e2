"""The verdict on a run: what its figures say, in plain words, and what to try next.

The rules stand in docs/training.md, under "Has it learnt?". Three things are weighed: the loss on clips that were kept
out, how far the latents of generated sound lie from those of the clips, and how its spectrum and level differ from
theirs. All are compared with the run's own start, which is the base, or the LoRA that it began with.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from soundlora.training.distances import Estimate
from soundlora.wording import using

BARELY = 0.05  # share of the loss at the start; a run that lowers it by less has hardly learnt
NEARER = 0.4  # share of the distance at the start; sound that came nearer by less is not what was to be learnt
_HARDLY = 0.15  # and of this by less it is hardly nearer
TURNED = 0.03  # share above the lowest loss; a run that ends higher is past its best
COPY = 0.9  # correlation with one clip at which a sound counts as a copy of it
LIVELINESS, SPECTRUM = "level moves by", "spectrum"  # figures that are weighed, by their names
# Sound whose level moves so many times as much as that of the clips, or as little, is of another kind, but for few dB.
_LIVELY, _LIVELY_DB = 2.0, 5.0
_FLOOR = 1.5  # times the distance between halves of the clips; what lies nearer is as near as they are
_FALLING = 0.15  # share of the whole fall; a loss that falls by more in the last quarter has not settled
_LOW_RATE, _USUAL_RATE = 5e-5, 2e-4
FEWEST_CLIPS = 10  # of fewer, every clip is needed for training
_FEW_STEPS, _FEW_WORDS = 500, 3
_SILENT = 0.9  # share of the previews
_LONG = 2.0  # times the bucket; of longer clips most is not heard


@dataclass(frozen=True)
class Facts:
    """What advice goes by besides the figures.

    captions: of the clips, without the trigger phrase. prompts: of the previews. used: the share of the clips' seconds
    that was trained on.
    """

    clips: int = 0
    steps: int = 0
    learning_rate: float = _USUAL_RATE
    captions: tuple[str, ...] = ()
    trigger_phrase: str = ""
    prompts: tuple[str, ...] = ()
    used: float = 1.0


@dataclass(frozen=True)
class Level:
    """The losses at a noise level: of the base alone, and with the LoRA."""

    sigma: float
    base: float
    lora: float


@dataclass(frozen=True)
class Heard:
    """A figure of what is heard: of the clips, of sound at the run's start, and of the LoRA's. None can't be said.

    A distance is that from the clips, and in their own place that of one half of them from the other.
    """

    name: str
    unit: str
    clips: Estimate | None
    start: Estimate | None
    lora: Estimate | None

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Heard:
        columns = (told[column] and Estimate(**told[column]) for column in ("clips", "start", "lora"))
        return cls(told["name"], told["unit"], *columns)


@dataclass(frozen=True)
class Fit:
    """The outcome of a run. Losses and distances are None where no clip was kept out or nothing was generated."""

    verdict: str  # "learnt", "learnt in part", "barely learnt", "overfitting" or "unknown"
    sentences: tuple[str, ...]
    advice: tuple[str, ...]  # what to try next, the first thing first
    base_loss: float | None
    start_loss: float | None  # of the LoRA that the run began with
    final_loss: float | None
    best_loss: float | None
    best_step: int | None
    best_file: str | None  # where another LoRA of the run is better than the last one
    distance: float | None  # generated to training audio, in deviations of a latent channel
    start_distance: float | None  # the same before the first step
    closest_clip: str | None
    closeness: float | None  # correlation with it, 1 is a copy
    level_dbfs: float | None  # RMS of the previews
    silence: float | None  # share of the previews that is silent
    levels: tuple[Level, ...] = ()  # the losses at the noise levels, on clips kept out where there are any
    levels_kept_out: bool = False  # whether they are; otherwise on clips that were trained on
    heard: tuple[Heard, ...] = ()  # of sound that is generated for captions of clips
    heard_of: str = ""  # a sentence that says what these compare, or why there is nothing to compare

    def to_json(self) -> dict[str, Any]:
        lists: dict[str, list[Any]] = {"sentences": list(self.sentences), "advice": list(self.advice)}
        for name in ("levels", "heard"):
            lists[name] = [asdict(each) for each in getattr(self, name)]
        return asdict(self) | lists

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Fit:
        """Return the outcome that `to_json` told."""
        texts = {name: tuple(told[name]) for name in ("sentences", "advice")}
        levels = tuple(Level(**level) for level in told.get("levels", ()))  # older reports have none
        heard = tuple(map(Heard.from_json, told.get("heard", ())))
        return cls(**{**told, **texts, "levels": levels, "heard": heard})


@dataclass(frozen=True)
class Figures:
    """What was measured of a run.

    held_out: (step, loss). The first is the base's; a second one of step 0 is that of the LoRA the run began with.
    distances: of the generated sound, and of the sound at the start, from the clips.
    closest: the clip nearest to a generated sound, and their correlation.
    level: (dBFS, share of silence) of the previews.
    checkpoints: names of LoRA files by step.
    heard: what is heard of the generated sound.
    """

    held_out: Sequence[tuple[int, float]] = ()
    distances: tuple[float, float] | None = None
    closest: tuple[str, float] | None = None
    level: tuple[float, float] | None = None
    checkpoints: Mapping[int, str] = field(default_factory=dict)
    heard: tuple[Heard, ...] = ()

    @property
    def missed(self) -> str:
        """What generated sound lacks of the clips' that its latents don't tell, "" where there is nothing to say.

        Spectra of takes of several kinds differ by more than their bound, so the near end of the interval counts.
        """
        by_name = {each.name: each for each in self.heard}
        moves, spectrum = by_name.get(LIVELINESS), by_name.get(SPECTRUM)
        if moves is not None and moves.clips is not None and moves.lora is not None:
            clips, lora = moves.clips.value, moves.lora.value
            if abs(lora - clips) > _LIVELY_DB and not clips / _LIVELY < lora < clips * _LIVELY:
                return f"the level moves by {lora:.1f} dB, where that of the clips moves by {clips:.1f} dB"
        if spectrum is not None and spectrum.start is not None and spectrum.lora is not None:
            start, lora = spectrum.start.value, spectrum.lora.value - (spectrum.lora.interval or 0.0)
            floor = 0.0 if spectrum.clips is None else _FLOOR * spectrum.clips.value
            if lora > floor and lora > (1 - _HARDLY) * start:
                off = f"{spectrum.lora.value:.2f} nats off, at the start {start:.2f}"
                return f"the spectrum is no nearer to that of the clips ({off})"
        return ""

    @property
    def measured(self) -> bool:
        """Whether a loss on clips kept out is known at the start and later."""
        return len(self.held_out) > 1

    @property
    def continued(self) -> bool:
        """Whether the run began with a LoRA."""
        return self.measured and self.held_out[1][0] == 0

    @property
    def start(self) -> float:
        """The loss at the start."""
        return self.held_out[1 if self.continued else 0][1]

    @property
    def final(self) -> float:
        return self.held_out[-1][1]

    @property
    def best(self) -> tuple[int, float]:
        """The step with the lowest loss, and that."""
        return min(self.held_out, key=lambda line: line[1])

    @property
    def gain(self) -> float:
        """The share of the loss at the start that is gone."""
        return 1 - self.final / self.start

    @property
    def nearer(self) -> float | None:
        """The share of the distance at the start that is gone."""
        return None if self.distances is None else 1 - self.distances[0] / self.distances[1]

    @property
    def silent(self) -> bool:
        """Whether the previews are almost silent."""
        return self.level is not None and self.level[1] > _SILENT

    @property
    def falling(self) -> bool:
        """Whether the loss has not settled: its last quarter brought a good part of its fall."""
        losses = [loss for _, loss in self.held_out[1 if self.continued else 0 :]]
        if len(losses) < 4 or self.gain <= 0:
            return False
        before = losses[-1 - len(losses) // 4]
        return before - losses[-1] > _FALLING * (losses[0] - losses[-1])


def judge(figures: Figures, facts: Facts) -> Fit:
    """Judge a run by its figures."""
    verdict, sentences = _verdict(figures)
    better = _better_file(figures) if verdict == "overfitting" else None
    sentences += _remarks(figures)
    held_out = figures.measured
    step, best = figures.best if held_out else (None, None)
    return Fit(
        verdict=verdict,
        sentences=tuple(sentences),
        advice=tuple(_advice(verdict, figures, facts, better)),
        base_loss=figures.held_out[0][1] if held_out else None,
        start_loss=figures.start if figures.continued else None,
        final_loss=figures.final if held_out else None,
        best_loss=best,
        best_step=step,
        best_file=better,
        distance=figures.distances and figures.distances[0],
        start_distance=figures.distances and figures.distances[1],
        closest_clip=figures.closest and figures.closest[0],
        closeness=figures.closest and figures.closest[1],
        level_dbfs=figures.level and figures.level[0],
        silence=figures.level and figures.level[1],
        heard=figures.heard,
    )


def _verdict(figures: Figures) -> tuple[str, list[str]]:
    """Return the verdict, and the sentences that give the reasons."""
    sound = _sound(figures)
    if not figures.measured:
        return "unknown", [
            "No clip was kept out, so there is no telling whether it learnt the sound or the clips.",
            *sound,
        ]
    start, final, (step, best) = figures.start, figures.final, figures.best
    if best >= start:
        return "barely learnt", [
            f"Not learnt: the loss on clips kept out never fell below the {start:.3f} of the start; at the end it was "
            f"{final:.3f}.",
            *sound,
        ]
    if best < final * (1 - TURNED):
        return "overfitting", [
            f"Overfitting since step {step}: the loss on clips kept out was lowest there ({best:.3f}) and rose to "
            f"{final:.3f}.",
            *sound,
        ]
    learnt, near = figures.gain >= BARELY, figures.nearer is None or figures.nearer >= NEARER
    only = "" if learnt else "only "
    fell = f"the loss on clips kept out fell by {only}{max(figures.gain, 0):.0%}, from {start:.3f} to {final:.3f}"
    if learnt and near and figures.missed:
        return "learnt in part", [f"Learnt in part: {fell}, but of generated sound {figures.missed}.", *sound]
    if learnt and near:
        return "learnt", [f"Learnt: {fell}.", *sound]
    if learnt:
        nearer = figures.nearer or 0.0
        much = "hardly nearer to the clips" if nearer < _HARDLY else f"nearer to the clips by only {nearer:.0%}"
        return "learnt in part", [f"Learnt in part: {fell}, but generated sound is {much}.", *sound]
    if near and figures.nearer is not None:
        return "learnt in part", [f"Learnt in part: generated sound is nearer to the clips, but {fell}.", *sound]
    return "barely learnt", [f"Barely learnt: {fell}.", *sound]


def _sound(figures: Figures) -> list[str]:
    if figures.distances is None:
        return []
    now, start = figures.distances
    who = "the LoRA it began with" if figures.continued else "the base"
    return [f"Generated sound lies {now:.2f} from the clips in latent statistics; that of {who} lies {start:.2f} off."]


def _remarks(figures: Figures) -> list[str]:
    remarks = []
    if figures.closest is not None and figures.closest[1] >= COPY:
        remarks.append(f"It repeats {figures.closest[0]} almost note for note ({figures.closest[1]:.2f} of 1).")
    if figures.silent:
        remarks.append("The previews are almost silent.")
    return remarks


def _advice(verdict: str, figures: Figures, facts: Facts, better: str | None) -> list[str]:
    """Return what to try next. What is likeliest to help comes first."""
    advice = []
    if not figures.measured:
        advice.append(f"{FEWEST_CLIPS} clips, or {using('hold_out')}, show what it learns.")
    if verdict == "overfitting":
        advice += _less(figures, facts, better)
    elif figures.measured and figures.best[1] >= figures.start and facts.learning_rate > _LOW_RATE:
        advice.append(f"Lower {using('learning_rate')}: the loss only rose.")
    elif verdict != "learnt" and facts.learning_rate < _LOW_RATE:
        advice.append(f"Raise {using('learning_rate')}: {facts.learning_rate:g} is low, {_USUAL_RATE:g} is usual.")
    elif verdict in ("barely learnt", "learnt in part") and (figures.falling or facts.steps < _FEW_STEPS):
        advice.append("Train for more steps: " + ("the loss was still falling." if figures.falling else "it had few."))
    if verdict not in ("learnt", "unknown"):
        advice += _data(facts)
    if facts.trigger_phrase and facts.prompts and not _has_trigger(facts):
        advice.append(
            f"Put the trigger phrase {facts.trigger_phrase!r} into your prompts: no prompt of the previews has it, so "
            "they may not show what was learnt."
        )
    if figures.silent:
        advice.append("Listen to the clips: are they nearly silent after the cut to the bucket?")
    return advice


def _less(figures: Figures, facts: Facts, better: str | None) -> list[str]:
    step = figures.best[0]
    if not step:
        return [f"Keep the LoRA it began with, or begin again with a lower {using('learning_rate')}."]
    use = f"Use {better}." if better else "Write checkpoints more often, so that there is a LoRA from its best step."
    more = f" or more clips than {facts.clips}" if facts.clips else ""
    return [use, f"Train for about {step} steps,{more} the next time."]


def _data(facts: Facts) -> list[str]:
    advice = []
    words = [len(caption.split()) for caption in facts.captions]
    if words and statistics.median(words) < _FEW_WORDS:
        advice.append(
            "Write longer captions: what is in the clips, but not in their captions, can't be told apart "
            f"({statistics.median(words):g} words in the middle)."
        )
    if 0 < facts.clips < FEWEST_CLIPS:
        advice.append(f"Add clips: it had {facts.clips}, and {FEWEST_CLIPS} or more are advised.")
    if facts.used * _LONG < 1:
        advice.append(
            f"Use more of each clip: {facts.used:.0%} of their length was trained on. A longer {using('duration')} or "
            f"{using('windows', 'all')} takes more."
        )
    return advice


def _has_trigger(facts: Facts) -> bool:
    return any(facts.trigger_phrase.lower() in prompt.lower() for prompt in facts.prompts)


def _better_file(figures: Figures) -> str | None:
    """Return the LoRA file of the checkpoint with the lowest loss, if that is lower than at the end."""
    losses = {step: loss for step, loss in figures.held_out if step in figures.checkpoints}
    best = min(losses, key=losses.__getitem__, default=None)
    return None if best is None or losses[best] >= figures.final else figures.checkpoints[best]
