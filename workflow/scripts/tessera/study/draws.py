"""What is drawn several times: weights of a control, and SAEs that are trained here, each draw an entry of its own.

Draw k of `name` is `name.drawk`; draw 0 is `name` itself, as if it were the only one.
"""

import re
from collections.abc import Callable

from tessera.base.errors import TesseraError
from tessera.study.grid import split_width

STEP = 1000  # between the seeds of draws: far from seeds that a config gives by hand


def join(name: str, number: int) -> str:
    """The name of a draw of a model, an entry of saes, or a width."""
    return f"{name}.draw{number}" if number else name


def split(name: str) -> tuple[str, int]:
    """What a name is a draw of, and which: `random.draw2` → ("random", 2), `random` → ("random", 0)."""
    found = re.fullmatch(r"(.+)\.draw([1-9][0-9]*)", name)
    return (found[1], int(found[2])) if found else (name, 0)


def seed(name: str, first: int) -> int:
    """The seed of a draw, given that of draw 0."""
    return first + STEP * split(name)[1]


def check(models: dict[str, dict], saes: dict[str, dict]) -> None:
    """Is drawn only what can be, and is no name that of a draw?

    Raises:
        TesseraError: names the entry.
    """
    for section, entries in (("models", models), ("saes", saes)):
        for name in entries:
            if split(name)[1]:
                raise TesseraError(f"config key {section}.{name}: such a name is that of a draw; rename it")
    for name, model in models.items():
        if "draws" in model and "control_of" not in model:
            raise TesseraError(f"config key models.{name}.draws: only a model with the key control_of is drawn")
        for index, one_pass in enumerate(model["passes"]):
            for layer, widths in one_pass.items():
                for width in widths:
                    bare, entry = split_width(width)
                    own = entry is not None and entry == model.get("saes") and _draws(saes, entry) > 1
                    if own and any(bare in others for one in model["passes"] for others in one.values()):
                        raise TesseraError(
                            f"config key models.{name}.passes[{index}].{layer}: width {width} is written {bare} too, "
                            f"and saes.{entry} has draws; write it one way"
                        )


def expand(models: dict[str, dict], saes: dict[str, dict], first: int) -> None:
    """Give each further draw of a control, or of an SAE, an entry, and models that use such an SAE its widths.

    A control has one SAE per draw: its draw k that of draw k, where there is one. What is borrowed is draw 0.

    Args:
        first: the study's seed.
    """
    for name, entry in list(saes.items()):
        for number in range(1, _draws(saes, name)):
            drawn = join(name, number)
            saes[drawn] = {"train": {**entry["train"], "seed": seed(drawn, entry["train"].get("seed", first))}}
    for name, model in list(models.items()):
        own = model.get("saes")
        if "control_of" not in model:
            model["passes"] = _passes(model, _every_draw, own, saes)
        for number in range(1, model.get("draws", 1)):
            again = {"passes": _passes(model, _that_draw, number, saes)}
            if own and join(own, number) in saes:
                again["saes"] = join(own, number)
            models[join(name, number)] = {**model, **again}


def collapse(models: dict[str, dict], saes: dict[str, dict]) -> dict[str, dict]:
    """Both sections as they were before `expand`."""
    return {
        "models": {name: {**one, "passes": _passes(one, _as_given)} for name, one in models.items() if _as_given(name)},
        "saes": {name: one for name, one in saes.items() if _as_given(name)},
    }


def _draws(saes: dict[str, dict], entry: str | None) -> int:
    return saes.get(entry, {}).get("train", {}).get("draws", 1)


def _passes(model: dict, change: Callable[..., list[str]], *given: object) -> list[dict]:
    """A model's passes, each width replaced by those that `change` makes of it."""
    return [
        {layer: [new for width in widths for new in change(width, *given)] for layer, widths in one.items()}
        for one in model["passes"]
    ]


def _every_draw(width: str, own: str | None, saes: dict[str, dict]) -> list[str]:
    bare, named = split_width(width)
    entry = named or own
    return [width, *(f"{bare}_{join(entry, number)}" for number in range(1, _draws(saes, entry)))]


def _that_draw(width: str, number: int, saes: dict[str, dict]) -> list[str]:
    """Of the SAE's draw, where its entry is named and has it; an entry that is not named is the model's own."""
    named = split_width(width)[1]
    return [join(width, number) if named and join(named, number) in saes else width]


def _as_given(name: str) -> list[str]:
    return [] if split(name)[1] else [name]
