"""This package turns a user's zip or folder into clips that are ready for the model, and reports on every clip."""

from soundlora.dataset.archive import Archive, open_archive
from soundlora.dataset.caption_source import CaptionsFrom
from soundlora.dataset.caption_template import check_template
from soundlora.dataset.captions import read_caption, with_trigger
from soundlora.dataset.decode import Audio, decode
from soundlora.dataset.fit import TOLERANCE_SECONDS, Fitted, Short, fit, target_length
from soundlora.dataset.members import Member
from soundlora.dataset.names import MEDIA_EXTENSIONS
from soundlora.dataset.pairing import pair
from soundlora.dataset.partners import Partner, Spans
from soundlora.dataset.prepare import Clip, check_source, inspect_dataset, prepare
from soundlora.dataset.problems import (
    DataError,
    DecodeError,
    DuplicateNameError,
    InvalidArchiveError,
    MissingPartnerError,
    TooManyFilesError,
    UnusableClipError,
)
from soundlora.dataset.refusal import ClipsTooShortError, DatasetError, NoAudioError, UndecodableError, refusal
from soundlora.dataset.report import ClipReport, DatasetReport, suggest
from soundlora.dataset.source import local_source
from soundlora.net.addresses import is_remote
from soundlora.net.download import FileDownloadError, FileTooLargeError

__all__ = [
    "MEDIA_EXTENSIONS",
    "TOLERANCE_SECONDS",
    "Archive",
    "Audio",
    "CaptionsFrom",
    "Clip",
    "ClipReport",
    "ClipsTooShortError",
    "DataError",
    "DatasetError",
    "DatasetReport",
    "DecodeError",
    "DuplicateNameError",
    "FileDownloadError",
    "FileTooLargeError",
    "Fitted",
    "InvalidArchiveError",
    "Member",
    "MissingPartnerError",
    "NoAudioError",
    "Partner",
    "Short",
    "Spans",
    "TooManyFilesError",
    "UndecodableError",
    "UnusableClipError",
    "check_source",
    "check_template",
    "decode",
    "fit",
    "inspect_dataset",
    "is_remote",
    "local_source",
    "open_archive",
    "pair",
    "prepare",
    "read_caption",
    "refusal",
    "suggest",
    "target_length",
    "with_trigger",
]
