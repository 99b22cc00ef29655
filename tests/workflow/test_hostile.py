"""Hostile configs, data and weights: one line that names the key or file, and nothing else happens."""

import copy
import gzip
import json
import pickle
import zipfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import ROOT, make_study, snakemake
from tessera.base.errors import TesseraError
from tessera.examples.examples import load_examples
from tessera.saes.preparing import prepare
from tessera.study.config import load

LONGEST = 500  # characters


def refused(call, *parts: str) -> None:
    """`call` ends in one short printable line with all of `parts`."""
    with pytest.raises(TesseraError) as raised:
        call()
    message = str(raised.value)
    assert message.isprintable() and len(message) < LONGEST
    assert [part for part in parts if part not in message] == [], message


# Configs


def study() -> dict:
    """A config with something in every section; its model has four layers."""
    return {
        "seed": 1,
        "models": {
            "m": {"path": str(ROOT / "tests"), "max_tokens": 8, "saes": "s", "passes": [{1: [64, "2k_o"]}, {2: []}]},
            "control": {"control_of": "m", "passes": [{1: []}]},
            "far": {"hub": "a/b", "passes": [{0: ["16k_scope"]}]},
        },
        "saes": {
            "s": {"train": {"texts": ["d"], "k": 4}},
            "o": {"train": {"texts": ["d"], "k": 4, "seed": 2}},
            "scope": {"release": "gemma-scope-2b-pt-res-canonical", "id": "layer_{layer}/width_{width}/canonical"},
        },
        "datasets": {
            "d": {"path": "d.csv", "text": "body", "where": {"language": "en"}, "shifts": {"late": {"path": "l.csv"}}},
            "e": {"hub": "a/b", "max_examples": 100},
        },
        "transfers": {"t": {"sources": ["d", "e"], "joint": True, "fractions": [0.5, 1.0]}},
        "matches": {
            "x": {
                "a": {"model": "m", "layer": 1, "width": 64},
                "b": {"model": "m", "layer": 1, "width": "2k_o"},
                "texts": ["d"],
            }
        },
        "grid": {"poolings": ["sum", "top5"], "thresholds": ["none", 1, "q50"], "selections": ["none", "anova-4"]},
        "baselines": {"hidden": ["mean"], "tfidf": ["word"]},
        "probe": {"C": [0.1, 1], "folds": 3},
    }


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> dict:
    config, folder = study(), tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text('{"num_hidden_layers": 4}')
    config["models"]["m"]["path"] = str(folder)
    return config


def bomb() -> list:
    value = ["x"] * 9
    for _ in range(9):
        value = [value] * 9
    return value


def endless() -> list:
    value = []
    value.append(value)
    return value


def deep() -> list:
    value = []
    for _ in range(5000):
        value = [value]
    return value


LONG = "x" * 2**20
CONFIGS = {
    "aliases that multiply": ("models", bomb(), "(top level)", "aliases"),
    "aliases that multiply, below": ("datasets/d/where", {"a": bomb()}, "(top level)", "aliases"),
    "an alias of itself": ("grid", endless(), "(top level)", "aliases"),
    "levels without end": ("saes", deep(), "(top level)", "levels"),
    "a list of models": ("models", [], "key models", "object"),
    "a model that is null": ("models/m", None, "key models.m", "object"),
    "a model that is a list": ("models/m", [1], "key models.m", "object"),
    "data sets that are text": ("datasets", "d.csv", "key datasets", "object"),
    "a data set that is a number": ("datasets/d", 3, "key datasets.d", "object"),
    "a grid that is a number": ("grid", 3, "key grid", "object"),
    "poolings that are text": ("grid/poolings", "sum", "key grid.poolings", "array"),
    "a pooling that is a mapping": ("grid/poolings", [{"sum": 1}], "key grid.poolings[0]"),
    "thresholds that are a mapping": ("grid/thresholds", {"a": 1}, "key grid.thresholds", "array"),
    "no SAEs": ("saes", None, "key saes", "object"),
    "transfers that are a list": ("transfers", [], "key transfers", "object"),
    "a scenario that is text": ("transfers/t", "d", "key transfers.t", "object"),
    "a match that is a number": ("matches/x", 1, "key matches.x", "object"),
    "a side of a match that is a list": ("matches/x/a", [], "key matches.x.a", "object"),
    "a probe that is a list": ("probe", [], "key probe", "object"),
    "a seed that is true": ("seed", True, "key seed", "integer"),
    "a seed that is bytes": ("seed", b"1", "key seed", "integer"),
    "a seed below zero": ("seed", -1, "key seed", "-1"),
    "a seed beyond 32 bits": ("seed", 2**32, "key seed", "4294967296"),
    "a seed of 6,000 digits": ("seed", 16**6000, "key seed", "bits"),
    "a layer of 6,000 digits": ("models/m/passes", [{16**6000: [64]}], "bits"),
    "folds that are not a number": ("probe/folds", float("nan"), "key probe.folds", "finite"),
    "a penalty without end": ("probe/C", [float("inf")], "key probe.C[0]", "finite"),
    "a penalty of zero": ("probe/C", [0], "key probe.C[0]"),
    "a penalty that is text": ("probe/C", ["1"], "key probe.C[0]"),
    "resamples of none": ("probe/resamples", 0, "key probe.resamples"),
    "a share below zero": ("transfers/t/fractions", [-0.5, 1.0], "key transfers.t.fractions[0]"),
    "a name that leaves": ("datasets/../x", {"path": "d.csv"}, "key datasets", "'../x'"),
    "a name from the root": ("models//etc", {"hub": "a/b", "passes": [{0: []}]}, "key models", "'/etc'"),
    "a name of a parent": ("saes/..", {"path": "x"}, "key saes", "'..'"),
    "a shift that leaves": ("datasets/d/shifts", {"../l": {"path": "l.csv"}}, "datasets.d.shifts", "'../l'"),
    "a scenario that leaves": ("transfers/a/b", {"sources": ["d"]}, "key transfers", "'a/b'"),
    "a match that leaves": ("matches/../x", {"a": {}, "b": {}, "texts": ["d"]}, "key matches", "'../x'"),
    "a name beyond ASCII": ("datasets/données", {"path": "d.csv"}, "key datasets", "donn"),
    "a name that is an emoji": ("models/🙂", {"hub": "a/b", "passes": [{0: []}]}, "key models", "🙂"),
    "a name that looks like another": ("models/ｍ", {"hub": "a/b", "passes": [{0: []}]}, "key models", "ｍ"),
    "a name with a NUL byte": ("datasets/a\0b", {"path": "d.csv"}, "key datasets", "a\\x00b"),
    "a name that ends a line": ("datasets/d\n", {"path": "d.csv"}, "key datasets", "d\\n"),
    "a name with colours": ("datasets/\x1b[31md", {"path": "d.csv"}, "key datasets", "\\x1b"),
    "a name that is half a character": ("datasets/\ud800", {"path": "d.csv"}, "key datasets", "\\ud800"),
    "a name of a megabyte": (f"datasets/{LONG}", {"path": "d.csv"}, "key datasets"),
    "an unknown key of a megabyte": (LONG, 1, "key (top level)", "unknown key"),
    "a pooling of a megabyte": ("grid/poolings", [LONG], "key grid.poolings[0]"),
    "a threshold of a megabyte of digits": ("grid/thresholds", ["9" * 2**20], "key grid.thresholds"),
    "a threshold in other digits": ("grid/thresholds", ["１.0"], "key grid.thresholds", "does not parse"),
    "a threshold that is code": ("grid/thresholds", ["__import__('os')"], "key grid.thresholds", "does not parse"),
    "a layer of 5,000 digits": ("models/m/passes", [{"9" * 5000: [64]}], "key models.m.passes"),
    "a layer in other digits": ("models/m/passes", [{"１": [64]}], "key models.m.passes", "１"),
    "a width of 5,000 digits": ("models/m/passes", [{1: ["9" * 5000]}], "key models.m.passes[0].1[0]"),
    "a width that leaves": ("models/m/passes", [{1: ["64_../x"]}], "key models.m.passes[0].1[0]", "64_../x"),
    "a width that is a fraction": ("models/m/passes", [{1: [64.5]}], "key models.m.passes[0].1[0]", "64.5"),
    "a pooling of 5,000 digits": ("grid/poolings", [f"top{'9' * 5000}"], "key grid.poolings[0]"),
    "columns to select of 5,000 digits": ("grid/selections", [f"l1-{'9' * 5000}"], "key grid.selections[0]"),
    "a model path with a NUL byte": ("models/m/path", "a\0b", "key models.m.path", "a\\x00b"),
    "a model path of a megabyte": ("models/m/path", LONG, "cannot be a file", "name too long"),
    "a model path that is a file": ("models/m/path", __file__, "key models.m.path", "config.json"),
    "a package that is code": ("models/m/path", "package:os;print(1)/x", "os;print(1)", "not installed"),
    "a package that leaves": ("models/m/path", "package:../x/y", "'..'", "not installed"),
    "code from the hub": ("models/far/trust_remote_code", True, "key models.far", "'trust_remote_code'"),
    "a data set of the hub that leaves": ("datasets/e/hub", "../x", "key datasets.e", "'../x'"),
    "a column that is no text": ("datasets/d/text", 3, "key datasets.d.text", "string"),
    "a column of no name": ("datasets/d/label", "", "key datasets.d.label"),
    "rows chosen by a number": ("datasets/d/where", {"language": 3}, "key datasets.d.where.language", "string"),
    "a sample of one": ("datasets/d/max_examples", 1, "key datasets.d.max_examples", "1"),
    "no shards": ("shard_size", 0, "key shard_size", "0"),
    "a device of another kind": ("models/m/device", "tpu", "key models.m.device", "'tpu'"),
    "no tokens": ("models/m/max_tokens", 0, "key models.m.max_tokens"),
    "SAE ids with a field too many": ("saes/scope/id", "{model}/{layer}", "no SAE '{model}/0'"),
}


def put(config: dict, key: str, value: object) -> None:
    """Set the value at `section/rest` or `section/name/…` where such a place is there already."""
    section, _, rest = key.partition("/")
    while rest and rest.partition("/")[0] in config[section] and "/" in rest:
        config = config[section]
        section, _, rest = rest.partition("/")
    if rest:
        config[section][rest] = value
    else:
        config[section] = value


@pytest.mark.parametrize(("key", "value", "expected"), [(k, v, e) for k, v, *e in CONFIGS.values()], ids=CONFIGS)
def test_a_hostile_config(base, key, value, expected):
    config = {section: copy.deepcopy(part) for section, part in base.items()}
    put(config, key, value)
    refused(lambda: load(config), *expected)


def test_the_config_itself_is_good(base):
    assert load(base).probe["seed"] == 1


# Data


def rows(size: int = 60, **columns) -> pl.DataFrame:
    numbers = range(size)
    frame = {"text": [f"text {number}" for number in numbers], "label": [("yes", "no")[n % 2] for n in numbers]}
    return pl.DataFrame({**frame, **columns})


def csv(frame: pl.DataFrame) -> bytes:
    return frame.write_csv().encode()


def parquet(table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table if isinstance(table, pa.Table) else table.to_arrow(), sink)
    return sink.getvalue().to_pybytes()


def flipped(content: bytes, place: float) -> bytes:
    at = int(len(content) * place)
    return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]


class Evil:
    """A pickle that tells when it is loaded."""

    loaded = False

    def __reduce__(self):
        return exec, ("import test_hostile; test_hostile.Evil.loaded = True",)


HEADER = b"text,label\n"
PLAIN = csv(rows())
FILES = {
    "a ragged row, too long": ("d.csv", PLAIN + b"a,yes,1,2\n", "d.csv", "cannot be read"),
    "a ragged row, too short": ("d.csv", PLAIN + b"only text\n", "datasets.d.label", "row 60"),
    "an open quote": ("d.csv", PLAIN + b'"open,yes\n', "d.csv"),
    "a header alone": ("d.csv", HEADER, "datasets.d", "no rows"),
    "blank lines alone": ("d.csv", b"\n\n\n", "datasets.d"),
    "a header twice": ("d.csv", b"text,text\n" + b"a,b\n" * 20, "datasets.d.path", "two columns named 'text'"),
    "one example": ("d.csv", HEADER + b"a,yes\n", "datasets.d"),
    "two examples": ("d.csv", HEADER + b"a,yes\nb,no\n", "datasets.d"),
    "bytes of no text": ("d.csv", bytes(range(256)) * 20, "datasets.d"),
    "UTF-16": ("d.csv", PLAIN.decode().encode("utf-16"), "datasets.d"),
    "Latin-1": ("d.csv", PLAIN + "é,yes\n".encode("latin-1"), "d.csv", "cannot be read"),
    "half a zst": ("d.csv.zst", b"\x28\xb5\x2f\xfd\0", "d.csv.zst", "cannot be read"),
    "half a gz": ("d.csv.gz", gzip.compress(PLAIN)[:-20], "d.csv.gz"),
    "an archive called csv": ("d.csv", b"PK\3\4" + bytes(100), "datasets.d"),
    "a spreadsheet": ("d.xlsx", b"PK\3\4", "'d.xlsx'", ".csv"),
    "a pickle": ("d.pkl", pickle.dumps(Evil()), "'d.pkl'", ".csv"),
    "a pickle called parquet": ("d.parquet", pickle.dumps(Evil()), "d.parquet", "cannot be read"),
    "a pickle called csv": ("d.csv", pickle.dumps(Evil()), "datasets.d"),
    "an empty file": ("d.parquet", b"", "d.parquet", "cannot be read"),
    "half a parquet file": ("d.parquet", parquet(rows())[:-9], "d.parquet", "cannot be read"),
    "a parquet file with a flipped footer": ("d.parquet", flipped(parquet(rows()), 0.9), "d.parquet"),
    "nested labels": ("d.parquet", parquet(rows(label=[["yes"]] * 60)), "datasets.d.label", "List"),
    "labels that are structs": ("d.parquet", parquet(rows(label=[{"a": 1}] * 60)), "datasets.d.label", "Struct"),
    "labels that are numbers with fractions": ("d.parquet", parquet(rows(label=[0.5, 1.0] * 30)), "label", "Float64"),
    "labels that are not numbers": ("d.parquet", parquet(rows(label=[float("nan"), 1.0] * 30)), "label", "Float64"),
    "labels that are dates": (
        "d.parquet",
        parquet(rows(label=pl.Series([1, 2] * 30).cast(pl.Date))),
        "datasets.d.label",
        "Date",
    ),
    "labels that are bytes": ("d.parquet", parquet(rows(label=[b"a", b"b"] * 30)), "datasets.d.label", "Binary"),
    "labels that are null": ("d.parquet", parquet(rows(label=[None] * 60)), "datasets.d.label"),
    "labels of blanks": ("d.parquet", parquet(rows(label=["yes", "\u3000"] * 30)), "datasets.d.label", "row 1"),
    "ten thousand classes": ("d.parquet", parquet(rows(10000, label=list(range(10000)))), "datasets.d", "class '"),
    "texts that are lists": ("d.parquet", parquet(rows(text=[["a"]] * 60)), "datasets.d.text", "List"),
    "texts that are numbers": ("d.parquet", parquet(rows(text=list(range(60)))), "datasets.d.text", "Int64"),
    "texts of blanks": ("d.parquet", parquet(rows(text=["a", "\u2003"] * 30)), "datasets.d.text", "row 1"),
    "a column name of a megabyte": ("d.parquet", parquet(rows().rename({"label": LONG})), "datasets.d.label"),
    "jsonl that is a list": ("d.jsonl", b"[1, 2]\n", "d"),
    "jsonl that is a number": ("d.jsonl", b"3\n4\n", "d"),
    "jsonl cut in a row": ("d.jsonl", rows().write_ndjson().encode()[:-9], "d.jsonl", "cannot be read"),
    "jsonl of mixed labels": ("d.jsonl", b'{"text":"a","label":"x"}\n{"text":"b","label":[1]}\n' * 20, "d"),
    "jsonl of nothing": ("d.jsonl", b"{}\n{}\n", "datasets.d"),
    "jsonl with numbers that are none": ("d.jsonl", b'{"text":"a","label":NaN}\n' * 9, "d.jsonl", "cannot be read"),
    "no training split": ("d.csv", csv(rows(split=["test"] * 60)), "datasets.d.split", "train and test"),
    "no test split": ("d.csv", csv(rows(split=["train"] * 60)), "datasets.d.split", "train and test"),
    "an empty split": ("d.csv", csv(rows(split=["train", "test", ""] * 20)), "datasets.d.split", "row 2"),
    "an id twice": ("d.csv", csv(rows(id=["🙂"] * 60)), "datasets.d.id", "row 1", "🙂"),
}


def examples(path: Path, content: bytes) -> pl.DataFrame:
    path.write_bytes(content)
    head = content[:200].split(b"\n")[0]
    own = {column: column for column in ("split", "id") if f",{column}".encode() in head}
    return load_examples("d", {"path": str(path), "text": "text", "label": "label", **own}, seed=0, folds=3)


@pytest.mark.parametrize(("name", "content", "expected"), [(n, c, e) for n, c, *e in FILES.values()], ids=FILES)
def test_a_hostile_data_file(tmp_path, name, content, expected):
    refused(lambda: examples(tmp_path / name, content), *expected)
    assert not Evil.loaded


@pytest.mark.parametrize("kind", ["folder", "link to itself", "no such file"])
def test_a_data_file_that_is_none(tmp_path, kind):
    path = tmp_path / "d.csv"
    if kind == "folder":
        path.mkdir()
    elif kind == "link to itself":
        path.symlink_to(path)
    spec = {"path": str(path), "text": "text", "label": "label"}
    refused(lambda: load_examples("d", spec, seed=0), "datasets.d.path", "d.csv")


def test_strange_data_that_are_good(tmp_path):
    """Kept as they are: a text of a megabyte, control characters, emoji and lone marks, a byte order mark."""
    ids = [f"🙂{number}\u202e" for number in range(60)]
    texts = ["x" * 2**20, "a\x01b", "🙂", "\ufeffmark", *(f"text {number}" for number in range(56))]
    frame = rows(id=ids, text=texts)
    found = examples(tmp_path / "d.csv", b"\xef\xbb\xbf" + csv(frame.select("text", "label", "id")))
    assert found["text"].to_list() == texts
    assert found["id"].to_list() == ids
    with_breaks = examples(tmp_path / "e.csv", PLAIN.replace(b"\n", b"\r\n"))
    assert with_breaks["label"].unique().sort().to_list() == ["no", "yes"]


# Weights


def model(folder: Path):
    return tiny.load(folder)


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"x": torch.zeros(1)}, folder / "pytorch_model.bin")


def torch_zip(folder: Path) -> None:
    torch.save({"x": Evil()}, folder / "model.safetensors")


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def endless_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")


def edit(**values):
    def write(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return write


REMOTE = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
MODELS = {
    "pickled weights": (only_pickles, "safetensors"),
    "a torch zip called safetensors": (torch_zip, "cannot be loaded"),
    "cut weights": (cut, "cannot be loaded"),
    "a header without end": (endless_header, "cannot be loaded"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
    "a config that is no json": (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
    "a config that is a list": (lambda folder: (folder / "config.json").write_text("[]"), "cannot be loaded"),
    "an unknown architecture": (edit(model_type="evil", architectures=["Evil"]), "cannot be loaded"),
    "code of its own": (edit(model_type="evil", auto_map=REMOTE), "cannot be loaded"),
    "layers that are text": (edit(num_hidden_layers="many"), "cannot be loaded"),
    "another size than the weights": (edit(hidden_size=64), "cannot be loaded"),
}


@pytest.mark.parametrize(("breaks", "expected"), MODELS.values(), ids=MODELS)
def test_a_hostile_model(folders, tmp_path, breaks, expected):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in folders["bert"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "evil.py").write_text("import test_hostile; test_hostile.Evil.loaded = True\nclass Config: pass\n")
    breaks(folder)
    refused(lambda: model(folder), "models.small", expected)
    assert not Evil.loaded


def pickled_sae(folder: Path) -> None:
    (folder / "sae_weights.safetensors").write_bytes(pickle.dumps(Evil()))


def zipped_sae(folder: Path) -> None:
    with zipfile.ZipFile(folder / "sae_weights.safetensors", "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Evil()))


def cfg(text: str):
    return lambda folder: (folder / "cfg.json").write_text(text)


def poisoned(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "sae_weights.safetensors")
    save_file({**tensors, "W_enc": tensors["W_enc"] * float("nan")}, folder / "sae_weights.safetensors")


SAES = {
    "pickled weights": (pickled_sae, "safetensors"),
    "a torch zip": (zipped_sae, "safetensors"),
    "no weights": (lambda folder: (folder / "sae_weights.safetensors").unlink(), "sae_weights.safetensors"),
    "weights that are not numbers": (poisoned, "W_enc"),
    "a config that is no json": (cfg("{"), "cfg.json"),
    "a config that is a list": (cfg("[]"), "cfg.json"),
    "a config that is null": (cfg("null"), "cfg.json"),
    "a config of another kind": (cfg('{"architecture": ["x"], "d_sae": 64, "d_in": 32}'), "architecture"),
    "another width": (lambda folder: tiny.change_sae(folder, d_sae=128), "128"),
    "a width that is text": (lambda folder: tiny.change_sae(folder, d_sae="64"), "64"),
    "another size than it says": (lambda folder: tiny.change_sae(folder, d_in=16), "another size"),
    "an unknown architecture": (lambda folder: tiny.change_sae(folder, architecture="evil"), "evil"),
    "an unknown norm": (lambda folder: tiny.change_sae(folder, normalize_activations="evil"), "evil"),
    "metadata that are a list": (lambda folder: tiny.change_sae(folder, metadata=[1]), "metadata"),
}


@pytest.mark.parametrize(("breaks", "expected"), SAES.values(), ids=SAES)
def test_a_hostile_sae(tmp_path, breaks, expected):
    folder = tiny.save_sae(tmp_path / "sae", "jumprelu", width=64)
    breaks(folder)
    out = tmp_path / "encoder.safetensors", tmp_path / "decoder.safetensors"
    refused(lambda: prepare(folder, *out, width=64, layer=1), str(folder), expected)
    assert not any(file.exists() for file in out) and not Evil.loaded


# Fuzzing

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 70),
    st.floats(),
    st.text(),
    st.sampled_from(["m", "d", "s", "t", "control", "none", "64", "64_s", "package:x/y", "../x", "\0", LONG]),
)
values = st.recursive(
    odd,
    lambda part: st.lists(part, max_size=4) | st.dictionaries(odd.filter(lambda key: key != LONG), part, max_size=4),
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The path of every key and index below."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, part in parts for place in [(*path, key), *places(part, (*path, key))]]


@st.composite
def mutations(draw):
    """A list of changes: a place of the good config, by number, and what is done there."""
    return draw(
        st.lists(st.tuples(st.integers(0, 500), st.sampled_from(["set", "drop", "add", "copy"]), values), max_size=4)
    )


@settings(max_examples=300, deadline=None)
@given(changes=mutations())
def test_a_mutated_config_is_loaded_or_refused_in_one_line(base, changes):
    config = copy.deepcopy(base)
    for number, what, value in changes:
        every = places(config)
        if not every:
            break
        *above, last = every[number % len(every)]
        parent = config
        for key in above:
            parent = parent[key]
        if what == "set":
            parent[last] = value
        elif what == "drop":
            del parent[last]
        elif isinstance(parent, dict):
            parent[str(value)[:100] if what == "add" else f"{last}2"] = copy.deepcopy(parent[last])
        else:
            parent.append(value)
    try:
        study = load(config)
    except TesseraError as error:
        assert str(error).isprintable() and len(str(error)) < LONGEST
    else:
        assert load(study.config).config == study.config


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz", ".jsonl.zst"]), data=st.data())
def test_random_bytes_are_read_or_refused_in_one_line(tmp_path_factory, kind, data):
    whole = {".csv": csv, ".tsv": csv, ".jsonl": lambda frame: frame.write_ndjson().encode(), ".parquet": parquet}
    good = whole.get(kind, csv)(rows(12))
    content = data.draw(
        st.one_of(
            st.binary(max_size=300),
            st.binary(max_size=60).map(lambda tail: good + tail),
            st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)).map(lambda p: flipped(flipped(good, p[0]), p[1])),
            st.integers(0, len(good)).map(lambda size: good[:size]),
            st.text().map(lambda text: HEADER + text.encode("utf-8", "surrogatepass")),
        )
    )
    path = tmp_path_factory.mktemp("fuzz") / f"d{kind}"
    path.write_bytes(content)
    try:
        frame = load_examples("d", {"path": str(path), "text": "text", "label": "label"}, seed=0, folds=2)
    except TesseraError as error:
        assert str(error).isprintable() and len(str(error)) < LONGEST
    else:
        assert frame["text"].str.len_chars().min() > 0 and frame["label"].null_count() == 0


@settings(max_examples=100, deadline=None)
@given(config=st.dictionaries(st.text(), values, max_size=5), weights=st.binary(max_size=100))
def test_random_sae_files_are_refused_in_one_line(tmp_path_factory, config, weights):
    folder = tmp_path_factory.mktemp("sae")
    saved = {"architecture": "jumprelu", "d_sae": 64, "d_in": 32, **config}
    (folder / "cfg.json").write_text(json.dumps(saved))
    (folder / "sae_weights.safetensors").write_bytes(weights)
    refused(lambda: prepare(folder, folder / "encoder.safetensors", folder / "decoder.safetensors", width=64, layer=1))


# Through the real command

TAG = "seed: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [loaded]]\n"
BOMB = "".join(f"a{n}: &a{n} [{', '.join(['x' if n == 0 else f'*a{n - 1}'] * 9)}]\n" for n in range(10))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("models: [unclosed\n", "yaml"),
        ("just text\n", "YAML"),
        (TAG, "not valid JSON or YAML"),
        (BOMB, "error: config key (top level): more than"),
        (
            "datasets: {../x: {path: d.csv}}\nmodels: {}\ngrid: {poolings: [sum], thresholds: [none]}\n",
            "error: config key",
        ),
    ],
    ids=["no yaml", "no mapping", "a tag", "a bomb", "a name that leaves"],
)
def test_a_hostile_config_through_the_command(tmp_path, text, expected):
    (tmp_path / "study.yaml").write_text(text)
    printed = snakemake(tmp_path, fails=True)
    assert expected.lower() in printed.lower()
    assert "Traceback" not in printed
    assert {file.name for file in tmp_path.iterdir()} <= {"study.yaml", "run.log", ".snakemake"}


def test_a_hostile_data_file_through_the_command(tmp_path):
    folder = make_study(tmp_path / "study")
    (folder / "weather.csv").write_bytes(FILES["a ragged row, too long"][1])
    before = {file.name for file in folder.iterdir()}
    printed = snakemake(folder, fails=True)
    lines = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "weather.csv" in lines[0]
    assert {file.name for file in folder.iterdir()} - before <= {"run.log", ".snakemake"}


def test_texts_in_both_splits_are_counted_and_warned_of(tmp_path):
    """Leakage is no error: the study goes on, and says so."""
    folder = make_study(tmp_path / "study")
    texts = [f"the cat sat {number}" for number in range(30)]
    leaking = pl.DataFrame(
        {"sentence": texts * 2, "class": ["wet", "dry"] * 30, "part": ["train"] * 30 + ["test"] * 30}
    )
    leaking.with_columns(key=pl.int_range(60)).write_parquet(folder / "own.parquet")
    printed = snakemake(folder, "--", "results/examples/data=own/examples.parquet")
    assert "own: 30 of 30 texts of split test are in the training split too (leakage)" in printed
