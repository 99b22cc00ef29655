"""Massive activations: tokens that a model parks attention on, whose norm dwarfs all others and says nothing of a text.

Sun et al., "Massive Activations in Large Language Models" (arXiv 2402.17762). Mostly they are a text's first token.
"""

import numpy as np
import torch

MASSIVE = 10  # times the median norm of the text's content tokens


def is_massive(norm_N: torch.Tensor, counts_B: np.ndarray) -> torch.Tensor:
    """Which of N content tokens, `counts_B` to a text, are over `MASSIVE` times the median norm of their own text.

    The lower median, so that at least half of a text's tokens are none, whatever its length; and of the text alone, so
    that neither shards nor other texts matter.
    """
    lengths = counts_B.tolist()
    norm_BT = torch.nn.utils.rnn.pad_sequence(norm_N.split(lengths), batch_first=True, padding_value=torch.inf)
    counts_B = torch.as_tensor(counts_B, device=norm_N.device)
    median_B = norm_BT.sort(dim=1).values.gather(1, ((counts_B - 1) // 2)[:, None])[:, 0]
    return norm_N > MASSIVE * median_B.repeat_interleave(counts_B)
