"""A seed is a function of what it is for."""

import itertools
import os
import subprocess
import sys

import pytest

from gr_vl.seeding import seed_of


def test_a_seed_is_the_same_in_every_process():
    # blake2b over the parts joined by the unit separator, first 8 bytes, one bit dropped; worked out by hand.
    assert seed_of(1, "rollout", "a", 0) == seed_of("1", "rollout", "a", "0")
    script = "from gr_vl.seeding import seed_of; print(seed_of(1, 'rollout', 'a', 0))"
    for hash_seed in ("0", "1"):
        process = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(process.stdout) == seed_of(1, "rollout", "a", 0)


def test_every_part_matters_and_so_does_where_parts_end():
    keys = [*itertools.product((1, 2), ("rollout", "mining"), ("a", "b", "ab"), range(20)), (1, "rollou", "ta", 0)]
    seeds = [seed_of(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    assert seed_of("a", "b") != seed_of("ab") != seed_of("b", "a")


@pytest.mark.parametrize("index", range(50))
def test_a_seed_fits_a_signed_integer_of_64_bits(index):
    assert 0 <= seed_of(index) < 2**63
