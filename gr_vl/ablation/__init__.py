"""Ablations: a grid of variants times seeds, run once each, compared with intervals."""
