"""Where every stage leaves its files: hive-style folders, so that a whole stage reads back as one table."""

# Stage paths in the hive style: a whole stage reads back as one table.
ANSWERS = "results/answers/data={data}/answers.parquet"
EXAMPLES = "results/examples/data={data}/examples.parquet"
TUNED = "results/models/model={model}"
RESIDUALS = "results/residuals/model={model}/pass={number}/texts={texts}"
TRAINED = "results/saes/model={model}/layer={layer}/width={width}/saelens"
QUALITY = "results/saes/model={model}/layer={layer}/width={width}/quality.parquet"
BORROWED = "results/saes/model={model}/layer={layer}/width={width}/borrowed.parquet"
ENCODER = "results/saes/model={model}/layer={layer}/width={width}/encoder.safetensors"
ACTIVATIONS = "results/activations/model={model}/data={data}/pass={number}/shard={shard}"
SUMMARY = "results/summaries/model={model}/data={data}/pass={number}/shard={shard}/summary.parquet"
FEATURES = "results/features/model={model}/layer={layer}/width={width}/data={data}/pooling={pooling}/features.parquet"
PROBE = (
    "results/probes/model={model}/layer={layer}/width={width}/data={data}/pooling={pooling}/threshold={threshold}"
    "/selection={selection}/{part}.parquet"
)
HIDDEN = "results/baselines/hidden/model={model}/layer={layer}/data={data}/pooling={pooling}/{part}.parquet"
TFIDF = "results/baselines/tfidf/data={data}/unit={unit}/{part}.parquet"
LENGTH = "results/baselines/length/data={data}/{part}.parquet"
PIXELS = "results/baselines/pixels/data={data}/unit={unit}/{part}.parquet"
TRANSFER = (
    "results/transfer/sae/scenario={scenario}/source={source}/model={model}/layer={layer}/width={width}"
    "/pooling={pooling}/threshold={threshold}/{part}.parquet"
)
TRANSFER_HIDDEN = (
    "results/transfer/hidden/scenario={scenario}/source={source}/model={model}/layer={layer}/pooling={pooling}"
    "/{part}.parquet"
)
TRANSFER_TFIDF = "results/transfer/tfidf/scenario={scenario}/source={source}/unit={unit}/{part}.parquet"
TRANSFER_PIXELS = "results/transfer/pixels/scenario={scenario}/source={source}/unit={unit}/{part}.parquet"
MATCH = "results/matches/match={match}/{part}.parquet"
JOINT = "joint"  # the source of a transfer that is all sources together


def short_name(path: str) -> str:
    """The values of a path's keys: `…/model=m/layer=1/data=d/…` → m/1/d."""
    return "/".join(part.partition("=")[2] for part in path.split("/") if "=" in part)


def is_within(path: str, place: str) -> bool:
    """Does the short name of `path` begin with `place`, value by value?"""
    values = place.strip("/").split("/")
    return bool(values[0]) and short_name(path).split("/")[: len(values)] == values
