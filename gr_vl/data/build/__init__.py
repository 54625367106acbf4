"""From downloaded sources to one clean corpus: read, check, compare, draw, split, write."""
