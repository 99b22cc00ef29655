"""A GGUF file unpacked: the same model, the same tokens, and what may be wrong with the file."""

import hashlib
import json
import shutil

import packed
import pytest
import tiny
import torch
from refusals import fails
from tessera.models.loading import load_model
from tessera.models.unpacking import unpack
from tessera.models.weights import identify
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "the cat, at 12:21 that night",
    "\n\n1",
    "  two spaces\n\n\tand 3.14159 of it's\r\n",
    "Überraschung 東京 ١٢٣ 🙂 ½",
    "print(f'{x[12]!r}')  # the end ",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A GGUF file, its hash, what was packed in it, and the folder made of it."""
    root = tmp_path_factory.mktemp("packed")
    model = packed.save_gguf(root / "small.gguf")
    unpack("small", root / "small.gguf", root / "folder")
    return root / "small.gguf", hashed(root / "small.gguf"), model, root / "folder"


def hashed(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def said(caplog):
    """Warnings, a line each."""
    found = [record.getMessage() for record in caplog.records if record.name == "tessera"]
    assert all(len(line.splitlines()) == 1 for line in found)
    return found


def identity_of(file, **changes):
    return tiny.identity(tiny.model_spec(file, **changes))


def control_of(file):
    spec = {key: value for key, value in tiny.model_spec(file).items() if key != "path"}
    return tiny.identity({**spec, "control_of": "small"}, tiny.model_spec(file), name="r", seed=7)


def test_the_folder_computes_what_was_packed(made):
    """In float32, whatever the file's types are, and with queries and keys rotated as they were."""
    _, _, packed_model, folder = made
    ids_BT = torch.arange(60).reshape(2, 30) + 100
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    found, expected = (one(ids_BT, output_hidden_states=True) for one in (model, packed_model))
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.hidden_states, expected.hidden_states)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert model.config.rope_parameters["rope_theta"] == packed.ROPE
    assert expected.logits.std() > 0.1


def test_every_job_loads_the_folder(made):
    file, _, packed_model, folder = made
    model = load_model(identity_of(file), folder=folder, depth=2)
    weight = packed_model.model.layers[1].self_attn.q_proj.weight
    assert torch.equal(model.blocks[1].self_attn.q_proj.weight, weight)
    assert load_model(identity_of(file), folder=folder, causal=True).module.lm_head is not None


def test_a_control_needs_config_and_tokenizer_alone(made, tmp_path):
    file, _, packed_model, folder = made
    shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    drawn = load_model(control_of(file), folder=tmp_path / "bare")
    assert len(drawn.blocks) == tiny.LAYERS
    weight = packed_model.model.layers[1].self_attn.q_proj.weight
    assert not torch.equal(drawn.blocks[1].self_attn.q_proj.weight, weight)


def test_a_folder_is_the_same_whenever_it_is_made(made, tmp_path):
    file, _, _, folder = made
    unpack("small", file, tmp_path / "again")
    for one in folder.iterdir():
        assert one.read_bytes() == (tmp_path / "again" / one.name).read_bytes()
    assert (folder / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_digits_are_tokens_of_their_own_and_texts_come_back(made):
    vocabulary = {token: number for number, token in enumerate(packed.TOKENS)}
    expected = Tokenizer(models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in packed.MERGES]))
    expected.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)])
    expected.decoder = decoders.ByteLevel()
    tokenizer = AutoTokenizer.from_pretrained(made[3], local_files_only=True)
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert ids == expected.encode(text).ids
        assert tokenizer.decode(ids) == text
    assert vocabulary["12"] not in tokenizer("at 12:21 on 121212")["input_ids"]
    assert vocabulary["ĊĊ"] in tokenizer("\n\n1")["input_ids"]


def test_the_chat_template_and_its_markers_are_there(made):
    tokenizer = AutoTokenizer.from_pretrained(made[3], local_files_only=True)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "at"}], return_dict=False)
    assert ids == [1, packed.TOKENS.index("at"), 2]


@pytest.mark.parametrize(("split", "warned"), [("gpt-2", 0), ("qwen2", 0), ("starcoder", 0), ("novel", 1), (None, 1)])
def test_a_split_that_nobody_knows_is_said(tmp_path, caplog, split, warned):
    packed.save_gguf(tmp_path / "model.gguf", split)
    unpack("m", tmp_path / "model.gguf", tmp_path / "out")
    lines = said(caplog)
    assert len(lines) == warned
    assert all(line.startswith("model.gguf: ") and "GPT-2" in line and repr(split) in line for line in lines)


def test_rotations_that_are_not_read_are_said(tmp_path, caplog):
    packed.save_gguf(tmp_path / "model.gguf", scaled=True)
    unpack("m", tmp_path / "model.gguf", tmp_path / "out")
    (line,) = said(caplog)
    assert line.startswith("model.gguf: rope_freqs.weight is not read")


def test_files_beside_it_do_not_matter(made, tmp_path):
    file, _, _, folder = made
    shutil.copy(file, tmp_path / "small.gguf")
    for name in ("config.json", "tokenizer.json", "adapter_config.json", "generation_config.json"):
        (tmp_path / name).write_text("{}")
    unpack("small", tmp_path / "small.gguf", tmp_path / "out")
    assert (tmp_path / "out" / "digests.json").read_bytes() == (folder / "digests.json").read_bytes()


def test_sha256_is_that_of_the_file_and_checked_first(made, tmp_path):
    file, digest, _, _ = made
    unpack("small", file, tmp_path / "right", wanted=digest)
    out = tmp_path / "wrong"
    fails(lambda: unpack("small", file, out, wanted="0" * 64), "config key models.small.sha256: ", str(file), digest)
    assert not out.exists()


@pytest.mark.parametrize("change", [lambda all: all[:-500], lambda all: all[:900], lambda all: b"PK" + all])
def test_a_file_that_is_not_whole_is_refused(made, tmp_path, change):
    file = tmp_path / "model.gguf"
    file.write_bytes(change(made[0].read_bytes()))
    fails(lambda: unpack("m", file, tmp_path / "out"), "config key models.m.path: ", str(file), "cannot be unpacked")
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_a_file_that_lacks_a_tensor_is_refused(tmp_path):
    file = tmp_path / "model.gguf"
    packed.save_gguf(file, without="blk.2.ffn_up.weight")
    lacks = "lacks 1 tensors, such as model.layers.2.mlp.up_proj.weight"
    fails(lambda: unpack("m", file, tmp_path / "out"), "config key models.m.path: ", str(file), lacks)


def test_without_the_package_a_line_says_so(made, tmp_path, monkeypatch):
    monkeypatch.setattr("tessera.models.unpacking.find_spec", lambda name: None)
    fails(lambda: unpack("m", made[0], tmp_path / "out"), "config key models.m.path: ", "package gguf", "has none")


def test_facts_name_the_file_and_what_was_made_of_it(made):
    file, digest, _, folder = made
    weights = ["model", "small", "model.safetensors", f"sha256:{hashed(folder / 'model.safetensors')}"]
    spec = identity_of(file, sha256=digest)
    expected = [["model", "small", "small.gguf", f"sha256:{digest}"], weights]
    assert identify(spec, folder) == {"revision": None, "facts": expected}
    config = ["model", "r", "config.json", f"sha256:{hashed(folder / 'config.json')}"]
    assert identify(control_of(file), folder)["facts"] == [["model", "r", "weights", "drawn from seed 7"], config]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "digests.json"])
@pytest.mark.parametrize("fault", ["changed", "gone"])
def test_a_damaged_folder_says_how_to_rebuild_it(made, tmp_path, name, fault):
    file, _, _, folder = made
    damaged = shutil.copytree(folder, tmp_path / "results/unpacked/model=small")
    if fault == "gone":
        (damaged / name).unlink()
    else:
        (damaged / name).write_text(json.dumps(["changed"]))
    who = control_of(file) if name == "config.json" else identity_of(file)
    fails(lambda: identify(who, damaged), f"rm -r {damaged}, then the same command again")
