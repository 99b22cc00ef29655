"""Where every stage leaves its files: hive-style folders, so that a whole stage reads back as one table."""

from collections.abc import Iterable

ANSWERS = "results/answers/data={data}/answers.parquet"
EXAMPLES = "results/examples/data={data}/examples.parquet"
TUNED = "results/models/model={model}"
UNPACKED = "results/unpacked/model={model}"
WEIGHTS = "results/weights/model={model}/weights.json"
RESIDUALS = "results/residuals/model={model}/pass={pass}/texts={texts}"
TRAINED = "results/saes/model={model}/layer={layer}/width={width}/saelens"
QUALITY = "results/saes/model={model}/layer={layer}/width={width}/quality.parquet"
BORROWED = "results/saes/model={model}/layer={layer}/width={width}/borrowed.parquet"
ENCODER = "results/saes/model={model}/layer={layer}/width={width}/encoder.safetensors"
DECODER = "results/saes/model={model}/layer={layer}/width={width}/decoder.safetensors"
DIGEST = "results/saes/model={model}/layer={layer}/width={width}/encoder.json"
ACTIVATIONS = "results/activations/model={model}/data={data}/pass={pass}/shard={shard}"
EMBEDDINGS = "results/embeddings/model={model}/data={data}/shard={shard}/embeddings.parquet"
TOKEN_STATES = "results/token_states/model={model}/data={data}/shard={shard}"
SUMMARY = "results/summaries/model={model}/data={data}/pass={pass}/shard={shard}/summary.parquet"
LATENTS = "latents/layer={layer}/width={width}.parquet"  # in a folder of activations
BEFORE_ANSWER = "before_answer/layer={layer}/width={width}.parquet"  # there too
HIDDEN = "hidden/layer={layer}.parquet"  # and there
TOKENS = "tokens.parquet"  # and there
STATES = "layer={layer}.parquet"  # in a folder of token states
ABLATED = "hidden/set={set}/layer={layer}.parquet"  # in a folder of ablations
FEATURES = "results/features/model={model}/layer={layer}/width={width}/data={data}/pooling={pooling}/features.parquet"
EVIDENCE = "results/evidence/model={model}/layer={layer}/width={width}/data={data}/{part}.parquet"
SETS = "results/evidence/model={model}/layer={layer}/width={width}/data={data}/sets.parquet"  # to take out of a model
WRITES = "results/writes/model={model}/layer={layer}/width={width}/writes.parquet"
ABLATIONS = "results/ablations/model={model}/layer={layer}/width={width}/data={data}/shard={shard}"
ABROAD = "results/abroad/scenario={scenario}/source={source}/model={model}/layer={layer}/width={width}/abroad.parquet"
SHAP = "results/shap/data={data}/shap.parquet"
DIRECTIONS = "results/directions/scenario={scenario}/direction={direction}/{part}.parquet"
STEERED = "results/steered/scenario={scenario}/direction={direction}"
WRITTEN = "results/written/scenario={scenario}/direction={direction}/states"  # of a reader
WRITTEN_TEXTS = "results/written/scenario={scenario}/direction={direction}/texts.parquet"  # rows of these states
JUDGED = "results/judged/scenario={scenario}/direction={direction}/judged.parquet"
STEERING = "results/steering/scenario={scenario}/direction={direction}/{part}.parquet"
ERASERS = "results/erasers/scenario={scenario}/eraser={eraser}/erasers.parquet"
ERASED = "results/erased/scenario={scenario}/eraser={eraser}"
ERASURE = "results/erasure/scenario={scenario}/eraser={eraser}/{part}.parquet"
MATCH = "results/matches/match={match}/{part}.parquet"
STUDY = "results/study.yaml"  # the config, every default filled in
TABLE = "results/tables/{table}.{format}"
FIGURE = "results/figures/{figure}.{format}"
PAGE = "results/report/{page}.html"
HOME = "results/report/home.rst"  # the report's first page
EXPLORER = "results/explorer.html"
PIECES = "results/explorer"  # of a study that is too large for one page
COMPARISON = "results/compare/left={left}/right={right}/{table}.{format}"  # of two cells, by their short names
LEARNING_CURVE = "results/curves/cell={cell}/curve.{format}"
EXPORT = "results/exports/cell={cell}"  # a probe that leaves the study; best,<data set>: the best of it
NEURONPEDIA = "results/neuronpedia/model={model}/layer={layer}/width={width}"

JOINT = "joint"  # the source of a transfer that is all sources together


def keyed(*axes: str) -> str:
    """A folder per axis: `model={model}/layer={layer}`."""
    return "/".join(f"{axis}={{{axis}}}" for axis in axes)


def probe(features: str, place: tuple[str, ...], axes: tuple[str, ...]) -> str:
    """The file of a part of a cell: `place` names the job beside data set and kind of probe, `axes` the cell in it."""
    return f"results/probes/features={features}/{keyed(*place, 'data', *axes, 'probe')}/{{part}}.parquet"


def regimes(features: str, place: tuple[str, ...]) -> str:
    """A part of all cells of such a job, in every regime."""
    return f"results/regimes/features={features}/{keyed(*place, 'data', 'probe')}/{{part}}.parquet"


def transfer(features: str, place: tuple[str, ...], axes: tuple[str, ...]) -> str:
    """The same of a transferred cell, whose job is one source of a scenario."""
    return f"results/transfer/features={features}/{keyed('scenario', 'source', *place, *axes)}/{{part}}.parquet"


def source(features: str, values: Iterable[str]) -> str:
    """A name of a kind of features at a place, which has these values."""
    return "/".join([features, *values])


def short_name(path: str) -> str:
    """The values of a path's keys: `…/features=sae/model=m/layer=1/data=d/…` → sae/m/1/d."""
    return "/".join(part.partition("=")[2] for part in path.split("/") if "=" in part)


def is_within(path: str, place: str) -> bool:
    """Does the short name of `path` begin with `place`, value by value?"""
    values = place.strip("/").split("/")
    return bool(values[0]) and short_name(path).split("/")[: len(values)] == values
