"""Every random draw is a function of what it is for, never of process state or arrival order."""

import hashlib


def seed_of(*parts: object) -> int:
    """A 63-bit seed from the run's seed, the purpose, the step, the sample, the answer: whatever names the draw.

    >>> seed_of(1, "rollout", "a", 0) == seed_of(1, "rollout", "a", 0) != seed_of(1, "rollout", "a", 1)
    True
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
