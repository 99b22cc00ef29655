"""A study: its config, checked, with every default filled in."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from tessera.study import draws, untrained
from tessera.study.grid import split_width
from tessera.study.media import holds, reads


@dataclass(frozen=True, eq=False)
class Study:
    """What `config.load` makes of a config; each field is the section of that name, as config/README.md explains it.

    sizes: examples of each data set, once they are counted.
    """

    models: dict[str, dict]
    datasets: dict[str, dict]
    grid: dict[str, list[str]]
    saes: dict[str, dict]
    transfers: dict[str, dict]
    matches: dict[str, dict]
    baselines: dict
    probe: dict
    probes: dict[str, list[str]]
    regimes: dict[str, list[float]]
    claims: dict
    evidence: dict
    interventions: dict[str, dict]
    explorer: dict
    repeats: int
    shard_size: int
    seed: int
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def config(self) -> dict:
        """The config, defaults filled in; what is drawn several times is one entry there, and no random SAE is."""
        sections = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "sizes"}
        return sections | draws.collapse(**untrained.collapse(self.models, self.saes))

    @property
    def controls(self) -> dict[str, str]:
        """Model of re-drawn weights → the model that it controls."""
        return {name: model["control_of"] for name, model in self.models.items() if "control_of" in model}

    @property
    def settings(self) -> dict:
        """What every fit of a probe is told, whichever device it is on."""
        return {"seed": self.seed} | {key: value for key, value in self.probe.items() if key != "device"}

    @property
    def truths(self) -> dict[str, str]:
        """Model that has SAEs → the file of directions that are known to be in its hidden states."""
        files = {cell["model"]: self.models[cell["model"]].get("truth") for cell in self.sae_cells()}
        return {model: file for model, file in files.items() if file}

    def frozen(self, model: str, width: str) -> str | None:
        """What of an SAE stays random directions (decoder, encoder, all); None of one that is none."""
        return self.saes[self.sae_entry(*self.sae_owner(model, width))].get("train", {}).get("freeze")

    def drawn(self, model: str, width: str | None) -> tuple[str, str | None, int]:
        """Model and width as the config has them, and which draw they are: of the control, else of the SAE."""
        name, draw = draws.split(model)
        if width is None:
            return name, None, draw
        width, of_sae = draws.split(width)
        there = any(width in widths for one in self.models[name]["passes"] for widths in one.values())
        return name, width if there else split_width(width)[0], draw or of_sae

    @property
    def behaviours(self) -> dict[str, str]:
        """Data set whose labels are what a model did → that model."""
        return {name: spec["behaviour_of"] for name, spec in self.datasets.items() if "behaviour_of" in spec}

    def architecture(self, model: str) -> str:
        """Name of the model whose architecture and tokenizer `model` uses: itself, or the one that it controls."""
        return self.models[model].get("control_of", model)

    def data_of(self, model: str) -> list[str]:
        """The data sets that a model is run on: those that it names, or all that hold what it reads."""
        wanted, named = reads(self.models[model]), self.models[model].get("data", self.datasets)
        return [name for name, spec in self.datasets.items() if name in named and holds(spec) == wanted]

    def data_that_hold(self, medium: str) -> list[str]:
        """The data sets of texts, or those of images."""
        return [name for name, spec in self.datasets.items() if holds(spec) == medium]

    def sae_entry(self, model: str, width: str) -> str:
        """Name of the entry of saes that a width of a model comes from."""
        return split_width(width)[1] or self.models[model]["saes"]

    def sae_owner(self, model: str, width: str) -> tuple[str, str]:
        """Model and width whose SAE a width of a model has: its own, or what an entry of saes with `of` borrows."""
        entry = self.saes[self.sae_entry(model, width)]
        return (entry["of"], split_width(width)[0]) if "of" in entry else (model, width)

    def sae_cells(self) -> Iterator[dict]:
        """Every (model, pass number, layer, width) that has an SAE, but for the random ones of matches."""
        for model, spec in self.models.items():
            for number, one_pass in enumerate(spec["passes"]):
                for layer, widths in one_pass.items():
                    for width in (width for width in widths if not untrained.is_random(width)):
                        yield {"model": model, "number": number, "layer": layer, "width": width}

    def layer_cells(self) -> Iterator[dict]:
        """Every (model, pass number, layer) once, in its first pass: the cells of the hidden states."""
        seen = set()
        for model, spec in self.models.items():
            for number, one_pass in enumerate(spec["passes"]):
                for layer in one_pass:
                    if (model, layer) not in seen:
                        seen.add((model, layer))
                        yield {"model": model, "number": number, "layer": layer}

    def pass_of(self, model: str, layer: str, width: str | None = None) -> int:
        """Number of the pass that computes a layer (and a width) of a model."""
        for number, one_pass in enumerate(self.models[model]["passes"]):
            if layer in one_pass and (width is None or width in one_pass[layer]):
                return number
        raise KeyError((model, layer, width))
