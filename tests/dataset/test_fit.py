"""The fit to the bucket: exact length, pitch kept, level exact, and what is skipped."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import FrequencyOf, MakeTone

from soundlora.dataset.decode import Audio
from soundlora.dataset.fit import PEAK_DBFS, bucket_of, fit, target_length
from soundlora.dataset.measure import spike_of
from soundlora.dataset.problems import UnusableClipError


def audio(samples: np.ndarray, rate: int) -> Audio:
    return Audio(samples, rate, rate, samples.shape[1] / rate, None, False, 0, "test", "test")


def peak_db(samples: np.ndarray) -> float:
    return float(20 * np.log10(np.abs(samples).max()))


@pytest.mark.parametrize(
    ("rate", "duration", "length"), [(44_100, 5.0, 220_500), (22_050, 0.75, 16_537), (8_000, 2, 16_000)]
)
def test_a_longer_clip_is_trimmed_from_the_start(rate: int, duration: float, length: int, tone: MakeTone) -> None:
    sent = tone(duration + 1, rate, channels=2)
    fitted = fit(audio(sent, rate), duration, normalize=False)
    assert fitted.samples.shape == (2, length)
    assert np.array_equal(fitted.samples, sent[:, :length])
    assert fitted.used_seconds == pytest.approx(duration, abs=1 / rate)
    assert target_length(duration, rate) == length


def test_a_clip_of_the_exact_length_stays_as_it_is(tone: MakeTone) -> None:
    sent = tone(1.0, 48_000)
    assert np.array_equal(fit(audio(sent, 48_000), 1.0, normalize=False).samples, sent)


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("missing", [0.040, 0.0005])
def test_missing_milliseconds_are_stretched_with_the_pitch_kept(
    rate: int, channels: int, missing: float, tone: MakeTone, frequency_of: FrequencyOf
) -> None:
    sent = tone(1.0 - missing, rate, channels=channels)
    fitted = fit(audio(sent, rate), 1.0, normalize=False, preserve_pitch=True)
    assert fitted.samples.shape == (channels, rate)
    for sent_channel, channel in zip(sent, fitted.samples, strict=True):
        assert frequency_of(channel, rate) == pytest.approx(440, abs=0.5)
        middle = channel[rate // 4 : rate // 4 * 3]
        assert np.abs(middle).max() == pytest.approx(np.abs(sent_channel).max(), rel=0.05)
    assert np.abs(fitted.samples[:, -rate // 50 :]).max() > 0.1  # Sound to the end, no padding.
    assert fitted.used_seconds == pytest.approx(1.0 - missing, abs=1 / rate)


def test_stretching_is_the_same_every_time(tone: MakeTone) -> None:
    clip = audio(tone(0.98, 44_100, channels=2), 44_100)
    assert np.array_equal(fit(clip, 1.0).samples, fit(clip, 1.0).samples)


def test_without_pitch_preservation_the_end_is_padded(tone: MakeTone) -> None:
    sent = tone(0.97, 16_000)
    fitted = fit(audio(sent, 16_000), 1.0, normalize=False, preserve_pitch=False)
    assert np.array_equal(fitted.samples[:, : sent.shape[1]], sent)
    assert fitted.samples.shape == (1, 16_000)
    assert not fitted.samples[:, sent.shape[1] :].any()


@pytest.mark.parametrize("preserve_pitch", [True, False])
def test_more_than_one_latent_frame_short_is_skipped(preserve_pitch: bool, tone: MakeTone) -> None:
    with pytest.raises(UnusableClipError, match=r"it is 4\.90 s long, shorter than the bucket of 5 s") as caught:
        fit(audio(tone(4.9, 16_000), 16_000), 5.0, preserve_pitch=preserve_pitch)
    assert caught.value.problem == "too_short"


@given(
    missing=st.integers(0, 1_000),
    rate=st.sampled_from([8_000, 11_025, 16_000]),
    duration=st.floats(0.5, 1.5),
    preserve_pitch=st.booleans(),
)
def test_the_length_is_exact_or_the_clip_is_skipped(
    missing: int, rate: int, duration: float, preserve_pitch: bool
) -> None:
    length = target_length(duration, rate)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, length - missing)).astype(np.float32)
    clip = audio(noise, rate)
    if missing - 1 > 0.04 * rate:
        with pytest.raises(UnusableClipError):
            fit(clip, duration, preserve_pitch=preserve_pitch)
    else:
        fitted = fit(clip, duration, preserve_pitch=preserve_pitch)
        assert fitted.samples.shape == (1, length)
        assert fitted.samples.dtype == np.float32
        assert fitted.samples.flags.c_contiguous


@pytest.mark.parametrize("seconds", [2.0, 0.97])
@pytest.mark.parametrize("peak", [0.001, 0.5, 1.3])
def test_normalising_brings_the_peak_of_all_channels_to_the_level(seconds: float, peak: float, tone: MakeTone) -> None:
    sent = tone(seconds, 44_100, channels=2, peak=peak)
    fitted = fit(audio(sent, 44_100), 1.0)
    assert peak_db(fitted.samples) == pytest.approx(-0.1, abs=0.01)
    # One gain for all channels: the second stays 10 % below the first.
    ratio = np.abs(fitted.samples[1]).max() / np.abs(fitted.samples[0]).max()
    assert ratio == pytest.approx(0.9, rel=0.05)


def test_what_is_trimmed_away_does_not_count_for_the_level(tone: MakeTone) -> None:
    sent = tone(2.0, 16_000, peak=0.1)
    sent[:, 20_000] = 1.0
    fitted = fit(audio(sent, 16_000), 1.0)
    assert peak_db(fitted.samples) == pytest.approx(-0.1, abs=0.01)
    assert fitted.levels.peak_dbfs == pytest.approx(-20, abs=0.01)


@pytest.mark.parametrize("seconds", [0.1, 0.45, 0.95])
def test_a_short_clip_is_filled_with_silence_when_asked(seconds: float, tone: MakeTone) -> None:
    sent = tone(seconds, 48_000, channels=2)
    fitted = fit(audio(sent, 48_000), 1.0, normalize=False, pad=True)
    assert fitted.samples.shape == (2, 48_000)
    assert np.array_equal(fitted.samples[:, : sent.shape[1]], sent)
    assert not fitted.samples[:, sent.shape[1] :].any()
    assert fitted.used_seconds == pytest.approx(seconds)
    assert fitted.levels == fit(audio(sent, 48_000), seconds, normalize=False).levels
    assert fitted.warnings == ()


def test_a_clip_of_less_than_a_tenth_of_a_second_is_not_filled_up(tone: MakeTone) -> None:
    with pytest.raises(UnusableClipError) as caught:
        fit(audio(tone(0.09, 48_000), 48_000), 1.0, pad=True)
    assert caught.value.reason == "it is 0.090 s long, and less than 0.1 s is not filled up"
    assert caught.value.problem == "too_short"


def test_a_clip_that_fills_the_bucket_is_the_same_with_padding_allowed(tone: MakeTone) -> None:
    clip = audio(tone(0.97, 48_000), 48_000)
    assert np.array_equal(fit(clip, 1.0, pad=True).samples, fit(clip, 1.0).samples)  # it is stretched


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.4, 1.0), (0.959, 1.0), (0.97, 1.0), (1.5, 1.0), (1.97, 2.0), (4.95, 2.0), (9.0, 5.0)]
)
def test_a_clip_goes_into_the_longest_bucket_that_it_fills(seconds: float, bucket: float, tone: MakeTone) -> None:
    assert bucket_of(audio(tone(seconds, 8_000), 8_000), (5.0, 1.0, 2.0)) == bucket


def test_levels_are_those_before_normalisation(tone: MakeTone) -> None:
    fitted = fit(audio(tone(1.0, 48_000, peak=0.5), 48_000), 1.0)
    assert fitted.levels.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    assert fitted.levels.rms_dbfs == pytest.approx(-9.03, abs=0.01)
    assert fitted.warnings == ()


@pytest.mark.parametrize("level", [0.0, 1e-10, 1e-5])
@pytest.mark.parametrize("normalize", [True, False])
def test_silence_is_skipped(level: float, normalize: bool) -> None:
    with pytest.raises(UnusableClipError, match="it is silent: no sample of it is above -96 dBFS") as caught:
        fit(audio(np.full((2, 16_000), level, np.float32), 16_000), 1.0, normalize=normalize)
    assert caught.value.problem == "silent"


def test_the_smallest_16_bit_sound_is_no_silence() -> None:
    samples = np.zeros((1, 16_000), np.float32)
    samples[0, 100] = 1 / 32_768
    fitted = fit(audio(samples, 16_000), 1.0)
    assert peak_db(fitted.samples) == pytest.approx(-0.1, abs=0.01)
    assert fitted.warnings[0] == "it is very quiet: normalising raises it and its noise by 90 dB"


def test_a_clip_that_is_mostly_silence_is_warned_about(tone: MakeTone) -> None:
    samples = tone(1.0, 16_000)
    samples[:, :4_000] = 0
    assert fit(audio(samples, 16_000), 1.0).warnings == ()
    samples[:, 11_000:] *= 1e-4
    warning = "most of it is silence: 0.2 s at its start and 0.3 s at its end"
    assert fit(audio(samples, 16_000), 1.0).warnings == (warning,)


def test_dc_is_measured_and_warned_about(tone: MakeTone) -> None:
    fitted = fit(audio(tone(1.0, 16_000, peak=0.2) + np.float32(0.05), 16_000), 1.0)
    assert fitted.levels.dc_offset == pytest.approx(0.05, abs=1e-4)
    assert fitted.warnings == ("it has a DC offset of 5.0% of full scale; a high-pass filter removes it",)


def test_clipping_is_measured_and_warned_about(tone: MakeTone) -> None:
    clipped = np.clip(tone(1.0, 48_000, peak=2.0), -1, 1)
    fitted = fit(audio(clipped, 48_000), 1.0)
    assert fitted.levels.clipped_share == pytest.approx(float((np.abs(clipped) == 1).mean()), abs=0.01)
    assert fitted.warnings == (f"it is clipped: {fitted.levels.clipped_share:.1%} of its samples stand on a flat top",)


def test_a_full_scale_tone_is_not_called_clipped(tone: MakeTone) -> None:
    sixteen_bit = np.round(tone(1.0, 48_000, frequency=60, peak=1.0) * 32_767).astype(np.float32) / 32_768
    assert fit(audio(sixteen_bit, 48_000), 1.0).warnings == ()


def test_overshoot_without_normalising_is_warned_about(tone: MakeTone) -> None:
    fitted = fit(audio(tone(1.0, 16_000, peak=1.5), 16_000), 1.0, normalize=False)
    assert fitted.warnings == ("it overshoots full scale by 3.5 dB",)


@pytest.mark.parametrize("level", [0.005, 0.0005])
@pytest.mark.parametrize("spikes", [1, 3])
def test_a_spike_that_normalising_would_silence_all_else_for_is_warned_about(
    level: float, spikes: int, tone: MakeTone
) -> None:
    samples = tone(5.0, 48_000, peak=level)
    for number in range(spikes):
        samples[0, 60_000 + 5_000 * number] = 0.9 - 0.1 * number
    (warning,) = [each for each in fit(audio(samples, 48_000), 5.0).warnings if "spike" in each]
    above = 20 * np.log10(0.9 / level)
    assert warning == (
        f"a spike at 1.25 s stands {above:.0f} dB above all else: normalising leaves the rest at "
        f"{PEAK_DBFS - above:.0f} dBFS; cut it out"
    )
    assert not any("spike" in each for each in fit(audio(samples, 48_000), 5.0, normalize=False).warnings)


def test_sounds_with_an_attack_have_no_spike(tone: MakeTone) -> None:
    time = np.arange(48_000) / 48_000
    for decay in (0.03, 0.1, 0.5):
        drum = (tone(1.0, 48_000, frequency=180)[0] * np.exp(-time / decay)).astype(np.float32)[None]
        assert not any("spike" in warning for warning in fit(audio(drum, 48_000), 1.0).warnings)
    noise = np.random.default_rng(0).normal(0, 0.05, (2, 48_000)).astype(np.float32)
    assert fit(audio(noise, 48_000), 1.0).warnings == ()


@pytest.mark.parametrize("count", [1, 100, 1000])
def test_a_clip_of_a_moment_has_no_spike(count: int) -> None:
    assert spike_of(np.ones((1, count), np.float32), 48_000) == (0.0, 0.0)
