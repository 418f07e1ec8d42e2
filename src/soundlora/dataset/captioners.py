"""Captioners: functions of your own that listen to a clip and write its caption, and one for models of transformers.

A captioner is any function that is given the path of a sound file and returns a text. Where a model is named, it is
given that, too, as `model`.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from soundlora.dataset.captioning import Captioner
from soundlora.dataset.decode import decode
from soundlora.errors import InputError
from soundlora.wording import setting, using

_MOST_SECONDS = 30.0
"""Of a clip; most models that listen hear no more at once."""


def captioner_of(name: str, model: str | None = None) -> Captioner:
    """Return the function that `MODULE:FUNCTION` names. A module in the folder that one works in is found, too.

    Raises InputError where there is none.
    """
    module, _, function = name.partition(":")
    if not module or not function.isidentifier():
        raise InputError(
            f"{setting('captioner')} is {name!r}, but it must be MODULE:FUNCTION, such as my_captions:describe.",
            field="captioner",
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), function, None)
    except Exception as error:
        raise InputError(f"The captioner {name} can't be imported: {_told(error)}.", field="captioner") from error
    if not callable(found):
        raise InputError(f"The captioner's module {module} has no function {function}.", field="captioner")
    captioner: Captioner = found if model is None else functools.partial(found, model=model)
    return captioner


def transformers(path: Path, model: str = "") -> str:
    """Return what a speech or audio-captioning model says of the first 30 s of a sound file.

    `model` is a folder with a model of transformers that turns sound into text, such as Whisper and those that were
    made from it. Nothing is fetched. Raises InputError where there is no such model.
    """
    listen, rate = _listener(model)
    audio = decode(path, _MOST_SECONDS)
    return listen(_resampled(audio.samples.mean(axis=0), audio.sample_rate, rate)[: round(_MOST_SECONDS * rate)])


@functools.cache
def _listener(model: str) -> tuple[Callable[[np.ndarray], str], int]:
    """Return a loaded model as a function of mono samples (n,), and the rate in Hz that it hears."""
    if not model or not Path(model).is_dir():
        raise InputError(
            f"{model or 'No model'} is no folder with a model of transformers; name one with "
            f"{using('captioner_model')}.",
            field="captioner_model",
        )
    try:
        import torch
        import transformers as library
    except ImportError:
        raise InputError(
            "The captioner needs the library transformers; pip install transformers.", field="captioner"
        ) from None
    try:
        config = library.AutoConfig.from_pretrained(model, local_files_only=True)
        is_ctc = any(name.endswith("CTC") for name in config.architectures or ())
        kind = library.AutoModelForCTC if is_ctc else library.AutoModelForSpeechSeq2Seq
        net = kind.from_pretrained(model, local_files_only=True).eval()
        tokenizer = library.AutoTokenizer.from_pretrained(model, local_files_only=True)
        features = library.AutoFeatureExtractor.from_pretrained(model, local_files_only=True)
    except Exception as error:
        raise InputError(
            f"{model} holds no model that turns sound into text ({_told(error)}).", field="captioner_model"
        ) from error

    def listen(samples: np.ndarray) -> str:
        inputs = features(samples, sampling_rate=features.sampling_rate, return_tensors="pt")
        with torch.inference_mode():
            words = net(**inputs).logits.argmax(-1) if is_ctc else net.generate(**inputs)
        return str(tokenizer.batch_decode(words, skip_special_tokens=True)[0])

    return listen, int(features.sampling_rate)


def _resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Return mono samples (n,) at another rate in Hz."""
    if rate == wanted:
        return samples
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="flt", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    converter = av.AudioResampler("flt", "mono", wanted)
    pieces = [*converter.resample(frame), *converter.resample(None)]
    return np.concatenate([piece.to_ndarray()[0] for piece in pieces])


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0].rstrip(".") if lines else "") or type(error).__name__
