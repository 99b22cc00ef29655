"""What of a text counts where texts are compared."""

import re
import unicodedata


def form(text: str) -> str:
    """A text without what near-duplicates may differ in: case, width, accents kept, punctuation and spaces."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())) or text.strip()
