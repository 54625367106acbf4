"""Which rows are drawn, and into which split: functions of the seed and of what a row says, never of its neighbours.

A row's rank is a hash, so drawing n rows means the n of lowest rank: a source that grows by a tenth exchanges a tenth
of them and leaves the rest. The split is a hash of the request, so all responses to one request stay together, whatever
else is drawn.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from gr_vl.data.build.recipe import Amount, Draw


def rank(seed: int, purpose: str, key: bytes) -> float:
    """A number in [0, 1) for a purpose: independent draws need purposes of their own."""
    digest = hashlib.blake2b(f"{seed}:{purpose}:".encode() + key, digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # as many bits as a float holds: 1.0 is never reached


def split_of(seed: int, request_key: bytes, splits: Mapping[str, float]) -> str:
    """The split of a request."""
    drawn = rank(seed, "split", request_key)
    names = [name for name, share in splits.items() if share]
    return next((name for name, end in zip(splits, accumulate(splits.values()), strict=True) if drawn < end), names[-1])


def draw(
    rows: Iterable[int],
    chosen: Draw,
    ranks: Mapping[int, float],
    modality: Sequence[str],
    labels: Sequence[Mapping[str, str]],
) -> tuple[list[int], dict[str, int]]:
    """The rows drawn, in their order, and by cell how many are missing to the number that was asked for."""
    cells: dict[str, list[int]] = {cell: [] for cell in chosen.amounts}
    for row in rows:
        traits = {"", modality[row], *(f"{task}/{label}" for task, label in labels[row].items())}
        traits |= {f"{modality[row]}/{trait}" for trait in traits}
        if fitting := [cell for cell in cells if cell in traits]:
            cells[fitting[0]].append(row)
    drawn, missing = [], {}
    for cell, members in cells.items():
        taken = _taken(members, chosen.amounts[cell], ranks)
        drawn += taken
        amount = chosen.amounts[cell]
        if isinstance(amount, int) and len(taken) < amount:
            missing[cell or "all"] = amount - len(taken)
    return sorted(drawn), missing


def _taken(members: list[int], amount: Amount, ranks: Mapping[int, float]) -> list[int]:
    if amount == "all":
        return members
    if isinstance(amount, float):  # a share of ranks and not of the number: no row's fate depends on another's
        return [row for row in members if ranks[row] < amount]
    return sorted(members, key=lambda row: (ranks[row], row))[: int(amount)]
