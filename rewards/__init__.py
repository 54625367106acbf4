"""Rewards as pure functions of an answer and its labels: no torch, no Ray, no verl. docs/reward.md explains each."""

from rewards.answer import Answer, Reading
from rewards.composition import preset_names
from rewards.safety import RewardBreakdown, SafetyReward

__all__ = ["Answer", "Reading", "RewardBreakdown", "SafetyReward", "preset_names"]
