from __future__ import annotations

import re
import typing

import pytest

from soundlora.errors import DivergedError, InputError, Interrupted, Lack, MachineError, about


def test_an_error_without_a_field_is_about_what_was_being_done() -> None:
    with pytest.raises(InputError) as raised, about("data"), about("base"):
        raise InputError("It is damaged.")
    assert (str(raised.value), raised.value.field) == ("It is damaged.", "base")
    with pytest.raises(InputError) as raised, about("data"):
        raise InputError("It is damaged.", field="out")
    assert raised.value.field == "out"


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(MachineError, match="full"), about("data"):
        raise MachineError("The disk is full.", "disk")


@pytest.mark.parametrize("lack", typing.get_args(Lack))
def test_what_others_are_told_of_a_machine_is_a_sentence_without_its_folders(lack: Lack) -> None:
    error = MachineError("/srv/runs/1 can't be written.", lack)
    assert str(error) == "/srv/runs/1 can't be written."
    assert re.fullmatch(r"The server\b[^/]+\.", error.public)


def test_nobody_catches_one_owners_errors_for_anothers() -> None:
    kinds = (InputError, MachineError, DivergedError, Interrupted)
    assert [one for one in kinds for other in kinds if one is not other and issubclass(one, other)] == []
