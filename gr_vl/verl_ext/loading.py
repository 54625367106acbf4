"""What a checkpoint may hold besides tensors and plain values."""

import numpy as np
import torch
import torch.distributed.tensor  # a sharded weight is a DTensor, which `torch.load` knows only then


def trust_random_states() -> None:
    """Let `torch.load(weights_only=True)` read numpy's random state, which verl saves in every checkpoint."""
    state = np.random.get_state(legacy=False)["state"]["key"]
    torch.serialization.add_safe_globals([np.ndarray, np.dtype, type(state.dtype), state.__reduce__()[0]])
