"""The most probable token of a row, and what is done where there is none."""

from __future__ import annotations

import numpy as np

from spec_local.errors import EngineError, NoTokenAllowed
from spec_local.sampling.types import Logits


def top_of(row: Logits) -> int:
    """The most probable token; raises NoTokenAllowed if there is none."""
    token = int(row.argmax())
    require_possible(row[token], row)
    return token


def require_possible(best: np.float32, row: Logits) -> None:
    """Raise NoTokenAllowed unless a token can be drawn; best: the greatest logit of those that may.

    llama.cpp's samplers end the process when they are given nothing to choose from.
    """
    if -np.inf < best < np.inf:
        return
    if best == np.inf or np.isnan(row).any():
        raise EngineError("The model's logits are not numbers; the file may be damaged.")
    raise NoTokenAllowed("No token is allowed here; loosen the grammar, the bans or the biases.")
