"""What a refusal looks like."""

import pytest
from tessera.base.errors import TesseraError


def fails(call, *parts):
    """`call` ends in a TesseraError of one line that holds all of `parts`."""
    with pytest.raises(TesseraError) as raised:
        call()
    message = str(raised.value)
    assert [part for part in parts if part not in message] == []
    assert len(message.splitlines()) == 1
