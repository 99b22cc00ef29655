"""How an exported probe is run with transformers and SAELens alone: the code of its card."""

from string import Template

from tessera.activations.massive import MASSIVE
from tessera.features.pooling import parse_pooling

POOLINGS = {
    "sum": "acts_NW.sum(0)",
    "mean": "acts_NW.mean(0)",
    "max": "acts_NW.max(0).values",
    "last": "acts_NW[-1]",
    "count": "(acts_NW > 0).sum(0)",
    "topN": "((acts_NW >= acts_NW.topk(N).values[:, -1:]) & (acts_NW > 0)).sum(0)",
    "before_answer": "sae.encode(state_TD[-1:])[0]",
}
HOOKS = {
    "resid_post": "block.register_forward_hook(lambda module, inputs, output: caught.append(output))",
    "resid_pre": "block.register_forward_pre_hook(lambda module, inputs: caught.append(inputs))",
}
CODE = Template('''\
import json

import torch
from sae_lens import SAE
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

FOLDER = "."  # this folder
MODEL = $model  # its folder, or its id on the hub

with open(f"{FOLDER}/probe.json") as file:
    about = json.load(file)
probe = load_file(f"{FOLDER}/probe.safetensors")
tokenizer = AutoTokenizer.from_pretrained(MODEL$revision)
model = AutoModel.from_pretrained(MODEL, dtype=torch.float32$revision).eval()
sae = $sae
block = model.get_submodule("$blocks")[$layer]


@torch.inference_mode()
def probabilities(text):
    """The probability of each class, in the order of about["classes"]."""
    room = about["max_tokens"] - len(about["bos"])
    ids = about["bos"] + tokenizer(text, truncation=True, max_length=room)["input_ids"]
    caught = []
    hook = $hook
    model(input_ids=torch.tensor([ids]))
    hook.remove()
    state_TD = (caught[0][0] if isinstance(caught[0], tuple) else caught[0])[0]
$centre    content_ND = state_TD[~torch.isin(torch.tensor(ids), torch.tensor(about["special_tokens"]))]
$massive    acts_NW = sae.encode(content_ND)
    value_K = ($pooling)[probe["latents"]]
    value_K = $threshold
    decision_C = probe["weights"].double() @ value_K.double() + probe["intercept"].double()
    if len(decision_C) == 1:  # two classes: the decision for the second
        decision_C = torch.cat([torch.zeros(1), decision_C])
    return decision_C.softmax(0)
''')
CENTRE = "    state_TD = state_TD - state_TD.mean(dim=1, keepdim=True)  # the SAE was trained on centred weights\n"
MASSIVE_OUT = f"""\
    norm_N = content_ND.norm(dim=1)
    content_ND = content_ND[norm_N <= {MASSIVE} * norm_N.median()]  # attention is parked on the others
"""


def code(about: dict, model: str) -> str | None:
    """The code that runs the probe of a probe.json; None where it takes more: a chat template, another hook.

    Args:
        model: folder or hub id of the model.
    """
    spec, release = about["model"]["identity"]["spec"], about["sae"]["release"]
    if about["hook"] not in HOOKS or spec["chat"] or "control_of" in spec:
        return None
    pooling, number = parse_pooling(about["cell"]["pooling"])
    revision = about["model"]["weights"]["revision"]
    return CODE.substitute(
        model=repr(model),
        revision=f", revision={revision!r}" if revision else "",
        sae=f"SAE.from_pretrained{(*release,)}" if release else 'SAE.load_from_disk(f"{FOLDER}/sae", device="cpu")',
        blocks=about["blocks"],
        layer=about["cell"]["layer"],
        hook=HOOKS[about["hook"]],
        centre=CENTRE if about["centre"] else "",
        massive="" if about["stored"]["pool_massive"] else MASSIVE_OUT,
        pooling=POOLINGS[pooling].replace("N)", f"{number[0]})") if number else POOLINGS[pooling],
        threshold='value_K / probe["scales"]' if about["tau"] is None else '(value_K > about["tau"]).float()',
    )
