"""A CLAP model on disk, a judge that had no part in what it judges (CLAP: Wu et al. 2023, arXiv:2211.06687)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from soundlora.errors import InputError
from soundlora.model.mel import resample
from soundlora.wording import using


class OutsideJudge:
    """A folder with a CLAP model and its processor, as `save_pretrained` of transformers writes it. Nothing is fetched.

    Raises InputError when transformers is missing, or the folder can't be loaded.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        try:
            import transformers
        except ImportError:
            raise InputError(
                f"{using('judge', folder)} needs transformers, which is not installed; run pip install transformers."
            ) from None
        if not folder.is_dir():
            raise InputError(f"{using('judge', folder)} is no folder; a CLAP model's is needed, with its config.json.")
        try:
            self._processor: Any = transformers.ClapProcessor.from_pretrained(folder, local_files_only=True)
            model: Any = transformers.ClapModel.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # any of several libraries, each with errors of its own
            reason = str(error).strip().partition("\n")[0]
            raise InputError(f"{using('judge', folder)} can't be loaded as a CLAP model: {reason}") from error
        self._model, self._device = model.eval().to(device), device
        self._rate = int(self._processor.feature_extractor.sampling_rate)

    @torch.inference_mode()
    def hear(self, samples: Tensor, rate: int) -> np.ndarray:
        """Return what the model makes of a sound (channels, n) at `rate` Hz, (D,)."""
        mono = resample(samples.float().mean(dim=0, keepdim=True), rate, self._rate)[0]
        inputs = self._processor.feature_extractor(mono.numpy(), sampling_rate=self._rate, return_tensors="pt")
        return self._vector(self._model.get_audio_features(**inputs.to(self._device)))

    @torch.inference_mode()
    def read(self, caption: str) -> np.ndarray:
        """Return what the model makes of a caption, (D,)."""
        inputs = self._processor.tokenizer(caption, truncation=True, return_tensors="pt")
        return self._vector(self._model.get_text_features(**inputs.to(self._device)))

    @staticmethod
    def _vector(features: Any) -> np.ndarray:
        # Later versions of transformers return more than the vector itself.
        tensor: Tensor = features if isinstance(features, Tensor) else features.pooler_output
        return np.asarray(tensor[0].float().cpu().numpy(), np.float64)
