"""What the rules of matching ask of the study."""

from tessera.pairs import SIDES, same_sae


def match_sides(wildcards):
    match = STUDY["matches"][wildcards.match]
    return {side: {**match[side], "latents": grid.parse_width(match[side]["width"])} for side in SIDES}


def match_texts(wildcards):
    return STUDY["matches"][wildcards.match]["texts"]


def match_data(wildcards):
    return STUDY["matches"][wildcards.match]["data"]


def match_all(wildcards):
    """The data sets of a match, each once."""
    return list(dict.fromkeys([*match_texts(wildcards), *match_data(wildcards)]))


def is_same_sae(wildcards):
    return same_sae(STUDY["matches"][wildcards.match], STUDY)


def of_side(side, pattern, data, **axes):
    """Files of one side of a match: its axes vary fastest, in the order given."""

    def files(wildcards):
        cell = STUDY["matches"][wildcards.match][side]
        return [file for name in data(wildcards) for file in expand(pattern, **cell, data=name, **axes)]

    return files


def features_to_match(side):
    """Pooling by pooling, the data sets in the order of match_texts."""
    return lambda wildcards: [
        file for pooling in POOLINGS for file in of_side(side, grid.FEATURES, match_texts, pooling=pooling)(wildcards)
    ]


def shards_to_match(side, data):
    """The activations that hold both the latents and the hidden states of one side."""

    def files(wildcards):
        cell = STUDY["matches"][wildcards.match][side]
        number = grid.pass_of(MODELS, **cell)
        return [
            grid.ACTIVATIONS.format(model=cell["model"], data=name, number=number, shard=shard)
            for name in data(wildcards)
            for shard in shards(name)
        ]

    return files
