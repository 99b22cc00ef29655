"""Text after prompts: against transformers' own and against loops without a cache that change states by hand."""

import chats
import numpy as np
import pytest
import tiny
import torch
from scipy import stats
from tessera.base.errors import TesseraError
from tessera.models.blocks import find_blocks
from tessera.models.forward import Change
from tessera.models.generating import generate
from tessera.models.text import TextModel
from tokenizers import processors
from transformers import AutoModelForCausalLM, Lfm2Config

PROMPTS = [*tiny.TEXTS, "the red house", "the red house"]
BLOCKS = {
    "llama": lambda module: module.model.layers,
    "gpt2": lambda module: module.transformer.h,
    "gpt_neox": lambda module: module.gpt_neox.layers,
    "gemma2": lambda module: module.model.layers,  # a window of 8 tokens in every other layer
}
LAYER, NEW = 1, 8
VECTORS = np.random.default_rng(0).normal(size=(3, tiny.HIDDEN)).astype(np.float32)  # a variant each
VECTORS[1] = 0


@pytest.fixture(scope="module", params=BLOCKS)
def architecture(request):
    return request.param


@pytest.fixture(scope="module")
def model(architecture, tmp_path_factory):
    return causal(architecture, tmp_path_factory.mktemp(architecture))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return causal("llama", tmp_path_factory.mktemp("llama"))


def causal(architecture, folder, **options):
    return tiny.load(tiny.save_model(architecture, folder, causal=True, **options), causal=True)


def written(model, prompts=PROMPTS, **asked):
    defaults = {"variants": 1, "change": None, "where": "last", "max_new_tokens": NEW, "samples": 0, "seed": 7}
    return generate(model, model.read(prompts, max_tokens=32), **defaults | asked)


def added(vectors_VD):
    """The change that adds to the state behind a block the vector of each row's variant."""

    def change(variant_B):
        vector_BD = torch.from_numpy(vectors_VD[variant_B])
        return Change(
            LAYER,
            "resid_post",
            lambda state_BTD, of_BT: state_BTD + vector_BD[:, None] * torch.tensor(of_BT)[..., None],
        )

    return change


def by_transformers(model, ids):
    ids_1T = torch.tensor([ids])
    return model.module.generate(ids_1T, max_new_tokens=NEW, do_sample=False)[0, ids_1T.shape[1] :].tolist()


def by_hand(model, architecture, ids, of, vector_D, ends, noise):
    """Every pass reads the whole text anew, without a cache; `of`: the tokens to change."""
    ids, of, new = [*ids], [*of], []
    while len(new) < NEW and (not new or new[-1] not in ends):

        def on_output(_module, _arguments, output, of=of):
            state_BTD = output[0] if isinstance(output, tuple) else output
            state_BTD[0, of] += torch.from_numpy(vector_D)

        handle = BLOCKS[architecture](model.module)[LAYER].register_forward_hook(on_output)
        with torch.inference_mode():
            logits_V = model.module(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double().numpy()
        handle.remove()
        scores_V = logits_V + noise(len(new), len(logits_V))
        second, first = np.argsort(scores_V)[-2:]
        assert scores_V[first] - scores_V[second] > 1e-4  # else rounding decides
        new.append(int(first))
        ids, of = [*ids, new[-1]], [*of, True]
    return new


def test_greedy_text_is_that_of_transformers(model, monkeypatch):
    ids = model.read(PROMPTS, max_tokens=32).ids
    third = by_transformers(model, ids[1].tolist())[2]  # so that some texts end, by a list as chat models have it
    monkeypatch.setattr(model.module.generation_config, "eos_token_id", [model.tokenizer.eos_token_id, third])
    found = written(model)
    assert found["ids"].to_list() == [by_transformers(model, row.tolist()) for row in ids]
    ended = [row[-1] in (model.tokenizer.eos_token_id, third) for row in found["ids"]]
    assert found["ended"].to_list() == ended and any(ended) and not all(ended)
    plain = [model.tokenizer.decode(row, skip_special_tokens=True) for row in found["ids"]]
    unknown = model.tokenizer.unk_token_id  # stands for text
    assert all(
        text == other for text, other, row in zip(found["text"], plain, found["ids"], strict=True) if unknown not in row
    )


@pytest.mark.parametrize("where", ["content", "all", "last"])
def test_changed_text_is_that_of_a_loop_without_a_cache(model, architecture, where):
    tokens = model.read(PROMPTS, max_tokens=32)
    found = written(model, where=where, variants=3, samples=1, change=added(VECTORS))
    assert found.select("prompt", "variant", "sample").rows() == [
        (prompt, variant, sample) for prompt in range(len(PROMPTS)) for variant in range(3) for sample in range(2)
    ]

    def noise_of(prompt, sample):
        def noise(step, size):
            if sample == 0:
                return 0
            return -np.log(np.random.default_rng([7, prompt, sample, step]).standard_exponential(size))

        return noise

    expected = []
    for prompt, variant, sample in found.select("prompt", "variant", "sample").rows():
        ids, content = tokens.ids[prompt].tolist(), tokens.content[prompt].tolist()
        of = {"content": content, "all": [True] * len(ids), "last": [False] * (len(ids) - 1) + [True]}[where]
        noise, ends = noise_of(prompt, sample), [model.tokenizer.eos_token_id]
        expected.append(by_hand(model, architecture, ids, of, VECTORS[variant], ends, noise))
    assert found["ids"].to_list() == expected
    assert any(a != b for a, b in zip(expected[::6], expected[2::6], strict=True))  # the changes matter


def test_zero_strength_is_no_change(model):
    plain = written(model, samples=1)
    for where in ("content", "all", "last"):
        found = written(model, samples=1, variants=2, change=added(np.zeros_like(VECTORS)), where=where)
        for variant in range(2):
            assert found.filter(variant=variant)["ids"].to_list() == plain["ids"].to_list()


@pytest.mark.parametrize("where", ["content", "last"])
def test_text_depends_neither_on_batches_nor_on_other_variants(model, where):
    asked = {"where": where, "samples": 1, "variants": 3, "change": added(VECTORS)}
    found = written(model, **asked)
    for budget in (1, 100, 100_000):
        assert written(model, budget=budget, **asked).equals(found)
    alone = written(model, **asked | {"variants": 1, "change": added(VECTORS[2:])})
    assert alone["ids"].to_list() == found.filter(variant=2)["ids"].to_list()
    assert written(model, **asked | {"samples": 0}).equals(found.filter(sample=0))


def test_a_variant_without_a_change_among_others(llama):
    """Batches of it alone, and what is left of others once the rest has ended."""

    def change(variant_B):
        return None if (variant_B == 1).all() else added(VECTORS)(variant_B)

    found = written(llama, variants=3, samples=1, change=added(VECTORS))
    for budget in (1, 100, 100_000):
        assert written(llama, variants=3, samples=1, change=change, budget=budget).equals(found)


def test_samples_follow_the_models_distribution(llama):
    prompt = "the river and the moon"
    found = written(llama, [prompt], samples=3000, max_new_tokens=2, seed=1, budget=100_000)[1:]
    ids = [*llama.read([prompt], max_tokens=32).ids[0].tolist()]
    firsts = np.array([row[0] for row in found["ids"]])
    follows(firsts, llama, ids)
    common = int(np.bincount(firsts).argmax())
    follows(np.array([row[1] for row in found["ids"] if row[0] == common]), llama, [*ids, common])


def follows(drawn, model, ids):
    """Are tokens drawn as the model predicts what follows `ids`? Those expected fewer than ten times count as one."""
    with torch.inference_mode():
        expected_V = model.module(input_ids=torch.tensor([ids])).logits[0, -1].double().softmax(0).numpy() * len(drawn)
    counts_V, rare = np.bincount(drawn, minlength=len(expected_V)), expected_V < 10
    assert (~rare).sum() > 5 and rare.any()
    observed, expected = (np.append(part[~rare], part[rare].sum()) for part in (counts_V, expected_V))
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_every_prompt_sample_and_seed_has_its_own_noise(llama):
    texts = [written(llama, PROMPTS[-2:], samples=2, seed=seed)["ids"].to_list() for seed in (0, 1)]
    (greedy, *first), (same, *second) = (texts[0][start : start + 3] for start in (0, 3))
    assert greedy == same == texts[1][0]
    drawn = [*first, *second, *texts[1][1:3], *texts[1][4:]]
    assert len({tuple(row) for row in drawn}) == len(drawn) == 8


@pytest.mark.parametrize("where", ["content", "all", "last", None])
def test_what_is_not_changed_is_read_once_and_what_ended_no_more(llama, where, monkeypatch):
    prompts, change = ["the cat sat", "a small dog"], where and added(VECTORS)
    length = len(llama.read(prompts, max_tokens=32).ids[0])
    shared = {"content": 1, "all": 0, "last": length - 1, None: length - 1}[where]  # BOS is no content
    plain = written(llama, prompts, variants=3, change=change, where=where or "last")["ids"].to_list()
    monkeypatch.setattr(llama.module.generation_config, "eos_token_id", plain[0][3])
    read = []
    handle = llama.module.get_input_embeddings().register_forward_pre_hook(lambda _, ids: read.append(ids[0].numel()))
    found = written(llama, prompts, variants=3, change=change, where=where or "last")["ids"]
    handle.remove()
    assert found.list.len().min() < NEW
    assert sum(read) == 2 * shared + sum(length - shared + len(row) - 1 for row in found)


def test_prompts_lose_what_the_tokenizer_puts_behind_them(llama, tmp_path):
    tokenizer = tiny.make_tokenizer("llama")
    special = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=special
    )
    model = causal("llama", tmp_path, tokenizer=tokenizer)
    assert model.read(["rain"], max_tokens=32).ids[0][-1] == tokenizer.eos_token_id
    assert written(model).equals(written(llama))
    text = "the cat <s>"  # its own special tokens stay
    ids = tokenizer(text)["input_ids"][:-1]
    assert ids[-1] == tokenizer.bos_token_id
    assert written(model, [text])["ids"].to_list() == [by_transformers(model, ids)]


@pytest.mark.parametrize("chat", ["gemma2", "smollm2"])
def test_a_chat_model_writes_where_its_template_ends(chat, tmp_path):
    tokenizer = chats.make_tokenizer(chat)
    tiny.save_model("llama", tmp_path, causal=True, tokenizer=tokenizer, max_position_embeddings=256)
    model = tiny.load(tmp_path, causal=True, chat=True)
    *_, prefix, suffix = chats.CHATS[chat]
    tokens = model.read(["yes", "is the sky blue?"], max_tokens=200)
    options = {"variants": 1, "change": None, "where": "content", "max_new_tokens": NEW, "samples": 0, "seed": 0}
    whole = [
        tokenizer(prefix + text + suffix, add_special_tokens=False)["input_ids"] for text in ("yes", "is the sky blue?")
    ]
    plain = [by_transformers(model, ids) for ids in whole]
    found = generate(model, tokens, **options)
    assert found["ids"].to_list() == plain
    end = plain[0][2]
    model.module.generation_config.eos_token_id = [end]
    assert generate(model, tokens, **options)["ids"].to_list()[0] == plain[0][: plain[0].index(end) + 1]


def test_layers_without_keys_are_cached_too():
    tokenizer = tiny.make_tokenizer("llama")
    torch.manual_seed(0)
    config = Lfm2Config(
        vocab_size=len(tokenizer),
        hidden_size=tiny.HIDDEN,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        full_attn_idxs=[1, 3],
        initializer_range=0.2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    module = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model = TextModel(module, tokenizer, find_blocks(module, config))
    expected = [by_transformers(model, ids.tolist()) for ids in model.read(PROMPTS, max_tokens=32).ids]
    for where in ("content", "last"):
        found = written(model, variants=2, change=added(np.zeros_like(VECTORS)), where=where)
        assert found["ids"].to_list() == [row for row in expected for _ in range(2)]


def test_what_cannot_be_written_ends_in_one_line(llama, tmp_path):
    headless = tiny.load(tiny.save_model("llama", tmp_path / "llama"))
    with pytest.raises(TesseraError, match=r"^LlamaModel has no head that predicts tokens; load it as a causal model$"):
        written(headless)
    with pytest.raises(TesseraError, match="BertLMHeadModel keeps no past_key_values"):
        written(causal("bert", tmp_path / "bert"))
    with pytest.raises(TesseraError, match=r"45 tokens are to follow a prompt of 20, but the model reads at most 64"):
        written(llama, max_new_tokens=45)
    with pytest.raises(TesseraError, match="a prediction is not finite; set dtype: float32"):
        written(llama, change=added(VECTORS * np.nan))
