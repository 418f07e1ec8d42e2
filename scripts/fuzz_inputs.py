"""This module makes the inputs of `fuzz_dataset.py`: short files of every format, and damaged zips of them."""

from __future__ import annotations

import io
import lzma
import random
import re
import struct
import zipfile
import zlib
from pathlib import Path

FORMATS: dict[str, tuple[str, str, int, int, dict[str, str]]] = {
    "s16.wav": ("wav", "pcm_s16le", 16_000, 1, {}),
    "s24.wav": ("wav", "pcm_s24le", 48_000, 6, {}),
    "f32.wav": ("wav", "pcm_f32le", 44_100, 2, {}),
    "mulaw.wav": ("wav", "pcm_mulaw", 8_000, 1, {}),
    "ms.wav": ("wav", "adpcm_ms", 22_050, 2, {}),
    "ima.wav": ("wav", "adpcm_ima_wav", 22_050, 1, {}),
    "tagged.mp3": ("mp3", "libmp3lame", 44_100, 2, {}),
    "raw.mp3": ("mp3", "libmp3lame", 22_050, 1, {"write_xing": "0", "id3v2_version": "0"}),
    "a.flac": ("flac", "flac", 44_100, 2, {}),
    "eight.flac": ("flac", "flac", 48_000, 8, {}),
    "vorbis.ogg": ("ogg", "vorbis", 44_100, 2, {}),
    "opus.ogg": ("ogg", "libopus", 48_000, 1, {}),
    "surround.opus": ("ogg", "libopus", 48_000, 8, {}),
    "raw.aac": ("adts", "aac", 44_100, 2, {}),
    "aac.m4a": ("ipod", "aac", 44_100, 2, {}),
    "fast.m4a": ("ipod", "aac", 48_000, 6, {"movflags": "faststart"}),
    "alac.m4a": ("ipod", "alac", 44_100, 2, {}),
    "fragments.m4a": ("mp4", "aac", 44_100, 1, {"movflags": "frag_keyframe+empty_moov"}),
    "other.wav": ("matroska", "flac", 44_100, 1, {}),
    "caf.wav": ("caf", "pcm_s16be", 44_100, 2, {}),
    "aiff.wav": ("aiff", "pcm_s16be", 44_100, 2, {}),
}
SAID = {
    "title": "Rain",
    "comment": "heavy, été",
    "description": "rain on a roof",
    "genre": "Ambience",
    "keywords": "rain, roof",
    "album": "Weather",
}
CAPTIONS = (
    b"a dog",
    "été\r\n雨".encode(),
    "été".encode("utf-16"),
    "été".encode("utf-32"),
    "дождь по крыше".encode("cp1251"),
    "雨の音が屋根に落ちる".encode("cp932"),
    b"\xff\xfe\x00",
    b"x" * 70_000,
    b"",
    b"\xe9t\xe9",
    b"{\\rtf1 rain}",
    b'{"caption": "rain"}',
    b"<p>rain &amp; wind</p>",
    b"rain\x1b[31m\x07",
    b"[" * 50_000,
)
TABLES = {
    "metadata.csv": b'file_name,text,room\r\n0vorbis.ogg,rain,hall\r\n0said.wav,"wind, ""cold""",\r\nlost.wav,x,y\r\n',
    "metadata.jsonl": b'{"file_name": "0said.wav", "caption": "rain", "tags": ["a", 1, null, {}]}\n{"file_name": 3}\n',
    "captions.json": b'{"0said": "rain", "1said.wav": {"text": "wind", "room": [[1]]}, "2": null}',
    "0said.lab": b"rain",
    "0said.wav.txt": b"wind",
}
PLAN_VALUES = (
    *(
        "0",
        "-1",
        "1",
        "0.05",
        "0.1",
        "1e308",
        "-0.0",
        "NaN",
        "Infinity",
        "1e-7",
        "9" * 30,
        "1" * 400,
        "1" * 5000,
        "null",
        "true",
    ),
    *('"x"', '""', "[]", "{}", '"../a.wav"', '"a.wav"', '"A.flac"', '"a.txt"', '"prepared.json"', '"con.wav"'),
    *('"a\\u0000.wav"', '"\\ud800.wav"', '"\\ud800"', '"' + "a" * 300 + '.wav"', '"24 bits"', '"float"', '"flac"'),
)
TEMPLATES = ("", "", "{trigger} {caption}, {genre}", "{caption} {room}", "{file}: {folder} {", "{caption} {title}")
NAMES = (
    "{}",
    "sub/{}",
    "__MACOSX/._{}",
    "../{}",
    "/{}",
    "a/b/c/{}",
    "C:\\{}",
    "\x00{}",
    "{}\u202e",
    "é/{}",
    ".{}",
    "{}/",
)
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
DEFLATE64, ZSTANDARD, XZ = 9, 93, 95  # zipfile does not pack by these
UTF8_FLAG = 0x800
ENCODINGS = ("cp437", "cp932", "gb18030", "cp866", "latin-1")
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def make_media(folder: Path) -> dict[str, bytes]:
    """Return a short file of every format, made in `folder`."""
    import av
    import numpy as np

    made = {}
    for name, (container, codec, rate, channels, options) in FORMATS.items():
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, (rate * 3 // 5, channels)).astype(np.float32)
        layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[channels]
        # One of the muxers opens its output again, so the output is a file.
        target = folder / "media"
        with av.open(str(target), "w", format=container, options=options) as file:
            stream = file.add_stream(codec, rate=rate, layout=layout, options={"strict": "experimental"})
            assert isinstance(stream, av.AudioStream)
            file.metadata.update(SAID)
            frame = av.AudioFrame.from_ndarray(noise.reshape(1, -1), format="flt", layout=layout)
            frame.sample_rate, frame.pts = rate, 0
            converter = av.AudioResampler(stream.format, layout, rate, frame_size=stream.frame_size or None)
            for converted in [*converter.resample(frame), *converter.resample(None)]:
                file.mux(stream.encode(converted))
            file.mux(stream.encode(None))
        made[name] = target.read_bytes()
        target.unlink()
    samples = np.random.default_rng(0).integers(-(2**22), 2**22, 14_400, np.int32)
    floats = struct.pack("<HHIIHH", 3, 1, 24_000, 96_000, 4, 32)
    made["scale.wav"] = riff(floats, (samples / 2**7).astype("<f4").tobytes())
    for bits in (16, 20, 24):
        wide = struct.pack("<HHIIHHHHIH14x", 0xFFFE, 1, 24_000, 96_000, 4, 32, 22, bits, 4, 1)
        made[f"wide{bits}.wav"] = riff(wide, (samples << 8).astype("<i4").tobytes())
    big = struct.pack(">HHIIHH", 1, 1, 24_000, 96_000, 4, 32)
    made["big.wav"] = riff(big, samples.astype(">i4").tobytes(), b"RIFX", ">")
    made["said.wav"] = riff(struct.pack("<HHIIHH", 1, 1, 24_000, 48_000, 2, 16), (samples >> 8).astype("<i2").tobytes())
    made["said.wav"] += chunk(b"bext", b"sTAKE=01\r\nsNOTE=rain \xe9t\xe9".ljust(602, b"\0"))
    made["said.wav"] += chunk(
        b"iXML", b"<BWFXML><NOTE>wind</NOTE><USER><DESCRIPTION>rain &amp; wind</DESCRIPTION></USER>"
    )
    made["said.wav"] += chunk(b"LIST", b"INFO" + chunk(b"INAM", b"rain\0\0") + chunk(b"IKEY", b"roof, tin\0"))
    made["follows.ogg"] = made["vorbis.ogg"] + bytes(70_000)
    made["chained.ogg"] = made["opus.ogg"] + made["vorbis.ogg"]
    return made


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of RIFF."""
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def riff(header: bytes, samples: bytes, magic: bytes = b"RIFF", order: str = "<") -> bytes:
    """Return a wav with this header of its format and these samples."""
    chunks = b"fmt " + struct.pack(f"{order}I", len(header)) + header
    chunks += b"data" + struct.pack(f"{order}I", len(samples)) + samples
    return magic + struct.pack(f"{order}I", len(chunks) + 4) + b"WAVE" + chunks


def pack(bundle: zipfile.ZipFile, info: zipfile.ZipInfo, content: bytes, method: int) -> None:
    """Write a member that is packed by a method which zipfile does not pack by.

    The table of contents states the method, as it is written at the end. The header before the member does not, and
    nobody reads it there.
    """
    import inflate64
    import zstandard

    if method == DEFLATE64:
        # inflate64 never gives back the object that it is handed, so all pieces are one object.
        packer, packed, same = inflate64.Deflater(), b"", bytearray(1024)
        for at in range(0, len(content) - 1023, 1024):
            same[:] = content[at : at + 1024]
            packed += packer.deflate(same)
        packed += packer.deflate(content[len(content) // 1024 * 1024 :]) + packer.flush()
    else:
        packed = zstandard.compress(content) if method == ZSTANDARD else lzma.compress(content)
    info.compress_type = zipfile.ZIP_STORED
    bundle.writestr(info, packed)
    info.compress_type, info.file_size, info.CRC = method, len(content), zlib.crc32(content)


def mutate(content: bytes, choose: random.Random, start: int = 0) -> bytes:
    """Change, cut, repeat or fill some pieces of `content` from `start` on."""
    changed = bytearray(content)
    for _ in range(choose.choice((1, 1, 2, 4, 16))):
        if len(changed) <= start + 8:
            break
        # The headers at the start decide most, so most changes fall there.
        reach = len(changed) if choose.random() < 0.5 else min(len(changed), start + 256)
        at = choose.randrange(start, reach)
        length = choose.choice((1, 2, 4, 8, 64, 1024))
        kind = choose.randrange(7)
        if kind == 0:
            changed[at] ^= 1 << choose.randrange(8)
        elif kind == 1:
            changed[at : at + length] = choose.randbytes(length)
        elif kind == 2:
            width = choose.choice((2, 4, 8))
            number = choose.choice(NUMBERS) % (1 << 8 * width)
            changed[at : at + width] = number.to_bytes(width, choose.choice(("little", "big")))
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = changed[at : at + length] * choose.choice((1, 2, 50))
        elif kind == 5:
            del changed[at:]
        else:
            source = choose.randrange(len(changed))
            changed[at : at + length] = changed[source : source + length]
    return bytes(changed)


def make_sound(number: int, seed: int, media: dict[str, bytes]) -> tuple[str, bytes]:
    """Return the name and the bytes of this number's damaged sound."""
    choose = random.Random(f"sound {seed}:{number}")
    name, content = choose.choice(list(media.items()))
    return name, mutate(content, choose, choose.choice((0, 256, 2048)))


def damage_plan(plan: str, choose: random.Random) -> bytes:
    """Return a prepared.json after an unlucky edit: other values, or other bytes."""
    if choose.random() < 0.3:
        return mutate(plan.encode(), choose)
    for _ in range(choose.choice((1, 1, 2, 8))):
        values = list(re.finditer(r'(?<=: )("[^"\n]*"|-?[\d.e+-]+|null)(?=[,}\n])', plan))
        if not values:
            break
        place = choose.choice(values)
        plan = plan[: place.start()] + choose.choice(PLAN_VALUES) + plan[place.end() :]
    return plan.encode("utf-8", "surrogatepass")


def make_input(number: int, seed: int, media: dict[str, bytes]) -> bytes:
    """Return the zip of this number: damaged files in a good zip, or good files in a damaged one."""
    choose = random.Random(f"{seed}:{number}")
    damage_zip = choose.random() < 0.4
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as bundle:
        for place in range(choose.choice((1, 1, 2, 3))):
            kind, content = choose.choice(list(media.items()))
            if not damage_zip:
                content = mutate(content, choose)
                if choose.random() < 0.1:
                    content += choose.choice(list(media.values()))
            # Content and extension need not agree.
            extension = choose.choice(list(media)) if choose.random() < 0.2 else kind
            name = f"{place}{extension}"
            shape = choose.choice(NAMES) if choose.random() < 0.15 else "{}"
            info = zipfile.ZipInfo(shape.format(name))
            method = choose.choice((*METHODS, DEFLATE64, ZSTANDARD, XZ))
            if method in METHODS:
                info.compress_type = method
                bundle.writestr(info, content)
            else:
                pack(bundle, info, content, method)
            if choose.random() < 0.5:
                bundle.writestr(f"{name.rpartition('.')[0]}.txt", choose.choice(CAPTIONS))
        for name, content in TABLES.items():
            if choose.random() < 0.1:
                bundle.writestr(name, content if choose.random() < 0.3 else mutate(content, choose))
    content = target.getvalue()
    if choose.random() < 0.1:
        content = rename(content, choose)
    if choose.random() < 0.1:
        content = nest(content, choose)
    if damage_zip:
        # Half of these inputs change only in the table of contents at the end.
        table = content.rfind(b"PK\1\2") if choose.random() < 0.5 else 0
        content = mutate(content, choose, max(0, table))
    return content


def rename(content: bytes, choose: random.Random) -> bytes:
    """Give the members names in an encoding of before Unicode, with or without the flag of UTF-8."""
    letters = choose.choice(("éü", "雨の", "雨声", "дож", "\u00fc")).encode(choose.choice(ENCODINGS), "replace")
    renamed = bytearray(content)
    for magic, flags, name in ((b"PK\3\4", 6, 30), (b"PK\1\2", 8, 46)):
        at = renamed.find(magic)
        while at >= 0 and at + name + len(letters) < len(renamed):
            renamed[at + name : at + name + len(letters)] = letters
            if choose.random() < 0.5:
                renamed[at + flags + 1] ^= UTF8_FLAG >> 8
            at = renamed.find(magic, at + 1)
    return bytes(renamed)


def nest(content: bytes, choose: random.Random) -> bytes:
    """Put the zip into a zip, once or several times."""
    for _ in range(choose.choice((1, 1, 2, 3))):
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", choose.choice(METHODS)) as bundle:
            bundle.writestr("in.zip", content)
            if choose.random() < 0.3:
                bundle.writestr("other.zip", content[: choose.randrange(len(content))])
        content = target.getvalue()
    return content
