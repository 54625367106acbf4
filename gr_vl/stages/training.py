"""What SFT and RL share: resume or start, train to the last step, prove that it was reached, publish the model."""

from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from gr_vl import checkpoints, jobs, limits, stop, watchdog
from gr_vl.errors import StageError
from gr_vl.stages import export


def train(config: DictConfig, rows: int, fit: Callable[[DictConfig], None]) -> None:
    """Call `fit` unless the last step was reached before; raises StageError if it is not reached after it.

    verl counts epochs and steps separately: resumed at an epoch's end it may train nothing and report success (verl
    5725, 7401), and with more steps than its epochs hold it ends without a checkpoint.
    """
    root = Path(config.trainer.default_local_dir)
    last = limits.last_step(config, rows)
    config.trainer.total_training_steps = last
    found = checkpoints.settle(root)
    if found is None or found.step < last:
        root.mkdir(parents=True, exist_ok=True)
        fit(config)
    reached = checkpoints.newest(root)
    if reached is None or reached.step != last:
        step = reached.step if reached else "none"
        raise StageError(f"training ended, but the newest whole checkpoint is of step {step}, not of the last, {last}")
    export.publish(reached.folder, Path(config.gr_vl.out))


def on_ray(config: DictConfig) -> None:
    """Start Ray, the watchdog over all its workers, and take SIGTERM as a wish to stop with a checkpoint."""
    folder = Path(config.trainer.default_local_dir).absolute().parent
    watchdog.watch(folder / "pulse", config.gr_vl.watchdog)
    jobs.start_ray(config, GR_VL_SEED=str(config.gr_vl.seed), **{watchdog.VARIABLE: str(folder / "pulse")})
    # After Ray, which sets a handler of its own.
    stop.listen(folder)
