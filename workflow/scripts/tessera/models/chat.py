"""A text as a chat model is given it: one user message in the tokenizer's chat template, the answer yet to come."""

import numpy as np

from tessera.base.errors import TesseraError, shorten

# Many templates write the date of the day, and two days would give two results: this macro stands in its place.
DATE = (
    "{% macro strftime_now(format) %}{{ format | replace('%d', '26') | replace('%m', '07') | replace('%b', 'Jul') | "
    "replace('%B', 'July') | replace('%Y', '2024') | replace('%y', '24') | replace('%A', 'Friday') | "
    "replace('%a', 'Fri') | replace('%H', '00') | replace('%M', '00') | replace('%S', '00') }}{% endmacro %}\n"
)
SENTINELS = ("@first@", "another")


class Chat:
    """The chat template of a tokenizer, with a system prompt in it or without.

    `prefix` and `suffix` are what it puts around every text.

    Args:
        key: of the config, for errors.

    Raises:
        TesseraError: there is no template, it refuses the system prompt or changes texts, or the tokenizer cannot say
            where a token stands.
    """

    def __init__(self, key: str, tokenizer, system: str | None = None):
        self.key, self._tokenizer = key, tokenizer
        self._before = [] if system is None else [{"role": "system", "content": system}]
        if not tokenizer.is_fast:
            raise TesseraError(f"config key {key}: only a fast tokenizer says where a token stands; drop this key")
        try:
            self._template = DATE + tokenizer.get_chat_template()
        except ValueError:
            raise TesseraError(f"config key {key}: the tokenizer has no chat template; drop this key") from None
        self.prefix, _, self.suffix = self._render(SENTINELS[0]).partition(SENTINELS[0])
        self.wrap(SENTINELS[1])
        if system is not None and system.strip() not in self.prefix + self.suffix:
            raise TesseraError(f"config key {key}: the chat template leaves the system prompt out; say true")

    def wrap(self, text: str) -> tuple[str, int, int]:
        """The text in the template, and where it begins and ends there (templates may trim it).

        Raises:
            TesseraError: the template makes something else of it.
        """
        whole = self._render(text)
        start, end = len(self.prefix), len(whole) - len(self.suffix)
        kept = whole[start:end]
        if whole != self.prefix + kept + self.suffix or kept.strip() != text.strip():
            raise TesseraError(
                f"config key {self.key}: the chat template changes the text {shorten(text)}; drop this key"
            )
        return whole, start, end

    def _render(self, text: str) -> str:
        messages = [*self._before, {"role": "user", "content": text}]
        try:
            return self._tokenizer.apply_chat_template(
                messages, chat_template=self._template, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # a template may raise anything
            what, instead = ("a system prompt", "say true") if self._before else ("a text", "drop this key")
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise TesseraError(
                f"config key {self.key}: the chat template refuses {what} ({reason}); {instead}"
            ) from error


def covering(offset_T2: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """First and last (exclusive) of the tokens that hold the characters from `start` to `end`, some of them in part.

    A token may hold the blank in front of the text with its first word. Byte-level tokenizers tell offsets without
    blanks, so that a token of blanks alone has no length, at its end.
    """
    begins_T, ends_T = offset_T2[:, 0], offset_T2[:, 1]
    behind_T = (begins_T >= end) & (ends_T > end)
    return int((ends_T <= start).sum()), int((~behind_T).sum())


def within(offset_T2: np.ndarray, start: int, end: int, whole: str, text: str) -> np.ndarray:
    """Offsets in `whole`, where a text stands from `start` to `end`, as offsets in the text before it was trimmed."""
    trimmed = _blanks(text) - _blanks(whole[start:end])
    return (np.clip(offset_T2, start, end) - start + trimmed).clip(0, len(text))


def _blanks(text: str) -> int:
    """Blanks in front of a text."""
    return len(text) - len(text.lstrip())
