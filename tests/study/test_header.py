"""The header of a GGUF file, as planning reads it."""

import random
import struct

import packed
import pytest
import tiny
from refusals import fails
from tessera.base.errors import TesseraError
from tessera.study.config import load
from tessera.study.gguf import read_gguf

FOUND = {"num_hidden_layers": tiny.LAYERS, "max_position_embeddings": tiny.POSITIONS}


@pytest.fixture
def file(tmp_path):
    return packed.save_header(tmp_path / "model.gguf")


def config_of(file, **changes):
    return {
        "models": {"m": {"path": str(file), "max_tokens": 32, "passes": [{1: []}], **changes}},
        "datasets": {"d": {"path": "d.csv"}},
        "grid": {"poolings": ["sum"], "thresholds": ["none"], "selections": ["none"]},
    }


def entry(name, kind, value):
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value


def text(value):
    return struct.pack("<Q", len(value)) + value


def test_layers_and_positions_are_read_wherever_they_stand(file, tmp_path):
    assert read_gguf("k", file) == FOUND
    packed.save_gguf(tmp_path / "whole.gguf")
    assert read_gguf("k", tmp_path / "whole.gguf") == FOUND
    last = [
        entry(b"llama.context_length", 10, struct.pack("<Q", 64)),
        entry(b"llama.block_count", 4, struct.pack("<I", 4)),
        entry(b"other.block_count", 4, struct.pack("<I", 9)),
        entry(b"general.architecture", 8, text(b"llama")),
    ]
    for version in (2, 3):
        file.write_bytes(b"GGUF" + struct.pack("<IQQ", version, 0, len(last)) + b"".join(last))
        assert read_gguf("k", file) == FOUND


def test_no_more_of_a_file_is_read_than_must_be(file):
    with file.open("r+b") as content:
        content.truncate(2**40)  # a sparse file of a terabyte
    assert read_gguf("k", file) == FOUND


def test_a_damaged_header_is_read_or_refused_in_one_line(file):
    whole, generator = file.read_bytes(), random.Random(0)
    faults = [whole[:length] for length in range(len(whole))]
    for place in range(len(whole)):
        for byte in {0, 255, whole[place] ^ 1 << generator.randrange(8), generator.randrange(256)} - {whole[place]}:
            faults.append(whole[:place] + bytes([byte]) + whole[place + 1 :])
    refused = 0
    for fault in faults:
        file.write_bytes(fault)
        try:
            assert all(number > 0 for number in read_gguf("k", file).values())
        except TesseraError as error:
            assert str(error).startswith(f"config key k: '{file}' cannot be read as GGUF: ")
            assert len(str(error).splitlines()) == 1
            refused += 1
    assert 0 < refused < len(faults)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is cut off"),
        (b"PK\3\4" + bytes(100), "it does not begin as one"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1; allowed: 2, 3"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "its header lacks general.architecture"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40), "it is damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**63), "it is damaged"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry(b"general.architecture", 8, text(b"clip")),
            "its header lacks clip.block_count and clip.context_length",
        ),
    ],
)
def test_what_is_no_model_is_refused_by_the_key_that_names_it(file, content, reason):
    file.write_bytes(content)
    fails(lambda: load(config_of(file)), f"config key models.m.path: '{file}' cannot be read as GGUF: ", reason)


def test_a_model_without_layers_is_refused(tmp_path):
    file = packed.save_header(tmp_path / "none.gguf", layers=0)
    fails(lambda: load(config_of(file)), "config key models.m.path: ", "'num_hidden_layers': 0")


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "none.gguf", "package:gguf/none.gguf"):
        fails(lambda path=path: load(config_of(path)), "config key models.m.path: there is no file ", "none.gguf")


def test_a_config_is_checked_against_the_header(file):
    load(config_of(file))
    fails(lambda: load(config_of(file, passes=[{4: []}])), "models.m.passes[0].4: the model has 4 layers")
    fails(lambda: load(config_of(file, max_tokens=65)), "models.m.max_tokens: 65, but the model reads at most 64")


def test_a_gguf_file_reads_no_images(file):
    config = config_of(file, reads="image")
    config["datasets"]["d"] = {"path": "d.csv", "image": "picture", "label": "label"}
    fails(lambda: load(config), "config key models.m.reads: image, but", "is a GGUF file")
