"""The one kind of error a user is meant to read."""


class TesseraError(Exception):
    """One line that says what is wrong, where, and what to do about it."""


def shorten(value: object, limit: int = 80) -> str:
    """`value` as a user wrote it, on one line and cut to `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
