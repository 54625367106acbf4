"""What can be refused before anything is loaded: batch arithmetic, schedules, rewards, missing files."""

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gr_vl import dialects, limits, memory, stages
from gr_vl.compose import Stage, leaves
from gr_vl.errors import ConfigError
from gr_vl.stages import Facts


def check(stage: Stage, *, files: bool = True) -> Facts:
    """Check one composed stage. Raises ConfigError or DataError; `files=False` leaves out what earlier stages make."""
    config, kind = stage.config, stages.get(stage.kind)
    if config.gr_vl.device not in ("cpu", "cuda"):
        raise ConfigError(f"gr_vl.device={config.gr_vl.device!r} is unknown; use one of: cpu, cuda")
    try:
        dialects.get(config.gr_vl.dialect)
        _pixels(config)
        limits.finite(leaves(config))
        facts: Facts = kind.check(stages.read(kind.settings, config), config, files)
    except (KeyError, OmegaConfBaseException) as error:  # a key that ~KEY took away, or a block without what it needs
        why = str(error).splitlines()[0]
        raise ConfigError(f"{stage.name}: a setting is missing ({why}); give it a value, or leave out ~KEY") from None
    if kind.memory is not None and (peak := memory.predict(config, kind.memory)):
        facts["GB of a GPU"] = f"{peak.gpu:.0f} of {memory.GPU_GB:.0f}"
        facts["GB of a host"] = f"{peak.host:.0f}"
    return facts


def _pixels(config: DictConfig) -> None:
    limits.positive(config, *limits.PIXELS)
    least, most = (OmegaConf.select(config, key) for key in limits.PIXELS)
    if least is not None and most is not None and least > most:
        raise ConfigError(f"gr_vl.image_pixels.min={least} exceeds gr_vl.image_pixels.max={most}; lower it")
