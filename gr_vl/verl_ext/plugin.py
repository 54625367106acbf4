"""What every verl process imports first: registers our hooks and applies our patches."""

from gr_vl.verl_ext import platform  # before all others: verl's modules ask for their platform when imported

# isort: split
from gr_vl import watchdog
from gr_vl.verl_ext import agent_loop, engine, patches, reward_manager, rollout, trainer

__all__ = ["agent_loop", "engine", "patches", "platform", "reward_manager", "rollout", "trainer"]

patches.apply()
watchdog.answer_to_signals()
rollout.register()
