"""Rewards as pure functions of an answer and its labels: no torch, no Ray, no verl."""

from rewards.length import LENGTH_TERMS, LengthTerm, length_term
from rewards.safety import RewardBreakdown, SafetyReward

__all__ = ["LENGTH_TERMS", "LengthTerm", "RewardBreakdown", "SafetyReward", "length_term"]
