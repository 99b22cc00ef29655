"""Names of what interventions change, and of what they are: in tables, claims and figures."""

import math

from tessera.study.interventions import CLAMP, LATENT

VALIDATION, REPORT = HALVES = ("validation", "report")
# What is meant to change, the first that there is decides claims of harm: in nats, or (all others) a probability.
ANSWERS, READER, TFIDF, JUDGE, STATES = EFFECTS = ("answers", "reader", "tfidf", "judge", "states")
PERPLEXITY, KL, REPETITION, SELECTIVITY, SIDE_EFFECTS = "perplexity", "kl", "repetition", "selectivity", "side_effects"
DECIDED = "decided"  # how far answers are from undecided
NATS = (ANSWERS, PERPLEXITY, KL, DECIDED)
MEANS = "difference"
TITLES = {
    "probe": "the probe's latents",
    "correlation": "correlated latents",
    MEANS: "the difference of means",
    "hidden": "the hidden states' probe",
    "random": "random directions",
}

ERASERS = {
    "leace": "LEACE",
    "probe": "the probe's latents",
    "difference": "differences of means",
    "random": "random subspaces",
}
NOTHING, RANDOM = "nothing", "random"
CHANCE = 0.5  # ROC AUC


def title(direction: str) -> str:
    """A direction's name in figures and claims."""
    if direction.startswith(CLAMP):
        return f"latent {direction.removeprefix(CLAMP)}, clamped"
    return TITLES.get(direction) or f"latent {direction.removeprefix(LATENT)}"


def most(metric: str) -> float:
    """How far a metric can change: probabilities and scores by 1."""
    return math.inf if metric in NATS else 1.0
