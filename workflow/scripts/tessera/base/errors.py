"""The one kind of error a user is meant to read."""

LONGEST = 480  # characters of a line that is still read


class TesseraError(Exception):
    """One line that says what is wrong, where, and what to do about it."""

    def __init__(self, message: str):
        printable = (sign if sign.isprintable() else repr(sign)[1:-1] for sign in _without_middle(message))
        super().__init__(_without_middle("".join(printable)))


def _without_middle(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST * 3 // 4]} … {text[-LONGEST // 5 :]}"


def shorten(value: object, limit: int = 80) -> str:
    """`value` as a user wrote it, on one line and cut to `limit` characters."""
    try:
        text = repr(value)
    except ValueError:  # Python spells out 4,300 digits
        return "a number of too many digits"
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
