"""The catalogue's tables of evidence: latents, their contexts, decisions, sufficiency, stability, ablations."""

from tessera.results.entries import (
    Figure,
    Table,
    intervals,
    names,
    once,
    per_ablation,
    per_map,
    per_place,
    with_ablations,
    with_evidence,
    with_maps,
    with_true_latents,
    with_truth,
)
from tessera.study.evidence import AXES

TABLES = (
    Table(
        "latents",
        "evidence_tables",
        "latent that fires × class: where, how well it tells the class, what it adds to the decision",
        (
            *AXES,
            *names("class latent pooling threshold selection firing_texts firing_texts_others firing_tokens"),
            *names("firing_tokens_others mean_activation largest_activation"),
            *intervals("roc_auc"),
            *names("weight contribution absolute_contribution contribution_gap rank_roc_auc rank_contribution"),
            *names("rank_absolute_contribution rank_contribution_gap"),
        ),
        there=with_evidence,
    ),
    Table(
        "shown_latents",
        "evidence_tables",
        "latent that adds most to telling a class, or is asked for: how specific, what it writes, its name",
        (
            *AXES,
            *names(
                "class nth latent explanation fires_on neuronpedia promoted suppressed contribution_gap contribution"
            ),
            *names("absolute_contribution firing_texts firing_texts_others"),
            *intervals("roc_auc", "separation"),
            *names("separation_p separation_level separation_texts neutral_rate unspecific"),
        ),
        about="The latents that add most to telling each class, chosen on training texts and judged on "
        "test texts: how often they fire, how they separate the class on held-out texts (interval corrected for "
        "all latents shown of the data set), whether they fire on neutral text too, and the tokens that they "
        "make likelier. The table contexts has the texts.",
        figures=(Figure("evidence_figures.contributions", per_place),),
        there=with_evidence,
    ),
    Table(
        "contexts",
        "evidence_tables",
        "latent × text that fires it, with its tokens, or a like text on which it is silent",
        (
            *AXES,
            *names("latent stratum example id split label text tokens similarity start end piece row column"),
            "activation",
        ),
        csv=False,
        about="Where the shown latents fire, in texts from the whole range of their activations: the stronger, the "
        "darker. Below, texts most like those on which the latent is silent. Near-duplicates are shown once.",
        there=with_evidence,
    ),
    Table(
        "latent_histograms",
        "evidence_tables",
        "shown latent × class × bin of its activations",
        (*AXES, *names("latent class low high tokens")),
        csv=False,
        there=with_evidence,
    ),
    Table(
        "decisions",
        "evidence_tables",
        "test example × predicted class, and that of its label: the best cell's decision as a sum",
        (*AXES, *names("example id split label predicted class decision intercept others")),
        csv=False,
        there=with_evidence,
    ),
    Table(
        "decision_latents",
        "evidence_tables",
        "test example × latent that adds most to its decision, with the tokens that fire it",
        (
            *AXES,
            *names("example latent value contribution label_contribution start end piece row column activation"),
        ),
        csv=False,
        there=with_evidence,
    ),
    Table(
        "maps",
        "evidence_tables",
        "example × map: where UMAP puts it in a plane",
        (*AXES, *names("map example split label x y")),
        about="Each example in a plane, by the latents that the probe of the best cell sees and by the hidden states "
        "of the layer: near ones are alike. Distances between clusters say nothing.",
        figures=(Figure("evidence_figures.maps", per_map),),
        there=with_maps,
    ),
    Table(
        "sufficiency",
        "evidence_tables",
        "measure × ranking × k: the probe on k latents alone, and without them",
        (*AXES, *names("measure ranking k"), *intervals("macro_f1"), *names("repeats draws area")),
        about="Do a few latents suffice, and is the decision lost without them? Macro F1 on the test split of the "
        "probe on k latents alone, and without k latents (as it is, and refitted), with 95 % intervals over test "
        "examples, repeats and draws; area: the mean of a curve over log k.",
        figures=(Figure("evidence_figures.sufficiency", per_place),),
        there=with_evidence,
    ),
    Table(
        "stability",
        "evidence_tables",
        "source of chance (folds, repeats, seeds): overlap of the k latents that add most, beside permuted labels",
        (*AXES, *names("over k sets jaccard null_jaccard null_high p")),
        about="Would other texts, splits or SAE seeds have named the same latents? Overlap (Jaccard) of the k that "
        "add most to telling the classes, beside that of the same procedure with permuted labels.",
        there=with_evidence,
    ),
    Table(
        "ablations",
        "evidence_tables",
        "what is taken out of the model × later layer × class: what a probe of its hidden states loses",
        (
            *AXES,
            *names("kind class latents at_layer states of metric before after"),
            *intervals("drop"),
            *names("draws examples"),
        ),
        about="What a probe of hidden states of later layers loses where latents are taken out of the residual "
        "stream: the k that add most to telling the classes, those of each class, random ones that fire as often and "
        "as strongly, the difference of class means, all. Test split of the first repeat. computed: beside the "
        "directions taken out, where no mere copy of them is.",
        figures=(Figure("evidence_figures.ablation", per_ablation),),
        there=with_ablations,
    ),
    Table(
        "harm",
        "evidence_tables",
        "what is taken out of the model: how far its next-token distribution moves on other texts",
        (*AXES, *names("kind class texts tokens"), *intervals("kl"), "draws"),
        about="Harm elsewhere: how far the model's next-token distribution moves on other texts (neutral ones) where "
        "latents are taken out. No rows where no language model head is.",
        there=with_ablations,
    ),
    Table(
        "ablated_answers",
        "evidence_tables",
        "what is taken out of the model × choice: how its log-probability changes",
        (*AXES, *names("kind class choice before after change change_error turned prompts draws")),
        about="Data sets that the model itself answered: how the log-probability of each choice changes where latents "
        "are taken out of the prompt.",
        there=with_ablations,
    ),
    Table(
        "evidence_claims",
        "evidence_tables",
        "claim of evidence × what it is held against: what it rests on in `claims`",
        (
            *names("claim on against metric"),
            *intervals("difference"),
            *names("error freedom p repeats draws examples"),
        ),
        about="What the claims of evidence rest on, with 95 % intervals; whether they hold stands in the claims.",
        there=with_evidence,
    ),
    Table(
        "recovery",
        "recovery",
        "SAE of a model whose true directions are known: how well its latents match them",
        names("model layer width draw latents directions mcc null_mcc null_high recovered"),
        about="Are the latents of an SAE the directions that are known to be in the hidden states (config key truth)? "
        "Both are matched one to one, so that the sum of absolute cosines is largest; beside it what as many random "
        "directions come to.",
        figures=(Figure("evidence_figures.recovery", once),),
        there=with_truth,
    ),
    Table(
        "true_latents",
        "recovery",
        "SAE × data set × class × direction that makes it: where the latent stands that matches it",
        (*AXES, *names("class direction latent cosine rank precision null_precision")),
        about="Are the latents that a probe decides by the true ones? For each direction that is known to make a "
        "class, the latent that matches it, and its rank among those that speak for the class, by contribution gap, at "
        "the place's best cell.",
        figures=(Figure("evidence_figures.true_latents", once),),
        there=with_true_latents,
    ),
)
