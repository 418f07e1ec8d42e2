from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from soundlora.errors import InputError
from soundlora.model.tensor_file import TensorFile, pack_header


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "weights.safetensors"
    tensors = {
        "table": torch.arange(24, dtype=torch.float32).view(6, 2, 2),
        "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    }
    save_file(tensors, target, {"format": "pt"})
    return target


def test_tensors_come_back_by_name_and_type(path: Path) -> None:
    file = TensorFile(path, "try again")
    assert file.metadata == {"format": "pt"}
    (name, half), (_, table) = file.read(["half", "table"])
    assert (name, half.tolist(), half.dtype) == ("half", [1.5, -2.0], torch.bfloat16)
    assert torch.equal(table, torch.arange(24, dtype=torch.float32).view(6, 2, 2))


def test_rows_come_in_the_order_asked_for(path: Path) -> None:
    rows = TensorFile(path, "try again").read_rows("table", [4, 0, 4])
    assert torch.equal(rows, torch.arange(24, dtype=torch.float32).view(6, 2, 2)[[4, 0, 4]])


def test_a_tensor_comes_in_pieces_when_asked_for(path: Path) -> None:
    pieces = list(TensorFile(path, "try again").pieces("table", 40))
    assert [len(piece) for piece in pieces] == [10, 10, 4]
    assert torch.cat(pieces).tolist() == list(range(24))


def test_a_packed_header_describes_the_tensors_one_after_another(path: Path, tmp_path: Path) -> None:
    file = TensorFile(path, "try again")
    wanted = {name: file.tensors[name] for name in ("half", "table")}
    content = path.read_bytes()
    packed = tmp_path / "packed.safetensors"
    parts = [content[info.start : info.end] for info in wanted.values()]
    packed.write_bytes(pack_header(wanted, {"said": 'é"}'}) + b"".join(parts))
    tensors = load_file(packed)
    assert list(TensorFile(packed, "try again").tensors) == ["half", "table"]
    assert TensorFile(packed, "try again").metadata == {"said": 'é"}'}
    assert tensors["half"].tolist() == [1.5, -2.0]
    assert torch.equal(tensors["table"], load_file(path)["table"])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is not a safetensors file; try again"),
        (b"RIFF1234WAVE" * 20, "is not a safetensors file"),
        (b"\x02" + bytes(7) + b"[]", "is not a safetensors file"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        TensorFile(path, "try again")


def test_a_file_cut_off_is_refused_with_its_lengths(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"ends after .* the download was cut off, resume it"):
        TensorFile(path, "try again")
