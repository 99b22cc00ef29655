"""What an SAE must beat: hidden states over the same content tokens, bags of words, and pixels."""

import logging

logger = logging.getLogger("tessera")
