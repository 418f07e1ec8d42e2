"""What a training would say of its data and of the sounds of its previews, without a base and without torch."""

from __future__ import annotations

from soundlora.contract.modes import MODES
from soundlora.dataset import check_source
from soundlora.errors import about
from soundlora.net.addresses import is_remote
from soundlora.pipeline.fitting import Fitting
from soundlora.pipeline.options import TrainingOptions
from soundlora.pipeline.sound_files import read_sound
from soundlora.system.cache_root import expanded


def look_at_data(options: TrainingOptions) -> None:
    """Look at the data set's table of contents and at the sounds of the previews. Raises InputError."""
    with about("data"):
        if options.data:
            check_source(options.data, MODES[options.mode].partner, options.caption_template)
    for number, source in enumerate(options.validation_audio or ()):
        with about(f"validation.{number}"):
            if not is_remote(source):
                read_sound(expanded(source))


def check_data(options: TrainingOptions) -> None:
    """Decode and fit every clip as a training does, and keep none. Raises InputError with the training's sentence."""
    look_at_data(options)
    with about("data"):
        Fitting.of(options).prepare(lambda clip: None)
