"""The catalogue's tables of interventions: what steering changed and harmed, what was written, what erasing left."""

from tessera.results.entries import (
    Figure,
    Table,
    intervals,
    names,
    per_eraser,
    per_intervention,
    with_erasers,
    with_interventions,
    with_steering,
)

TABLES = (
    Table(
        "interventions",
        "intervention_tables",
        "scenario × direction (or its controls) × measure × half of the prompts × α: how far steering changes it",
        (
            *names("scenario model layer width data class acted_on unit direction controls measure of half alpha best"),
            *intervals("change"),
            *names("draws prompts"),
        ),
        about="What steering does to what it is meant to change (answers, reader, tfidf, judge, states) and to what it "
        "is not (perplexity and KL of neutral texts, repetition, selectivity, side effects): the mean change against "
        "the same model without it. The best α of a direction is chosen on one half of the prompts (validation), and "
        "reported on the other.",
        figures=(Figure("intervention_figures.steering", per_intervention),),
        there=with_steering,
    ),
    Table(
        "written_texts",
        "intervention_tables",
        "text that a steered model wrote, with what readers say of it",
        names("scenario direction draw controls alpha prompt sample text ended reader tfidf judge"),
        csv=False,
        there=with_steering,
    ),
    Table(
        "erasure",
        "intervention_tables",
        "scenario × eraser × what is read, before and after",
        (
            *names("scenario model layer width data class eraser measure read at_layer before after"),
            *intervals("drop"),
            *names("draws examples"),
        ),
        about="What is left where a label is erased: fresh probes of the states of the erased model, of this label and "
        "of others (read), at the layer and behind; the model's answers, and neutral texts.",
        figures=(Figure("intervention_figures.erasure", per_eraser),),
        there=with_erasers,
    ),
    Table(
        "intervention_claims",
        "intervention_tables",
        "claim of interventions × what it is held against: what it rests on in `claims`",
        (
            *names("claim on against metric"),
            *intervals("difference"),
            *names("error freedom p repeats draws examples"),
        ),
        about="What the claims of interventions rest on, with 95 % intervals, on the half of the prompts for reports; "
        "whether they hold stands in the claims.",
        there=with_interventions,
    ),
)
