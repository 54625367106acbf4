"""Which model is released, and what is known about how it came to be."""

from dataclasses import dataclass
from pathlib import Path

from gr_vl import dialects, model_files, specs


@dataclass(frozen=True)
class Source:
    """A model folder, and the run that it is part of if there is one."""

    model: Path
    dialect: str
    run: Path | None
    stage: str

    @classmethod
    def find(cls, path: Path, stage: str, dialect: str | None) -> "Source":
        """A run's model of that stage, or a model folder. DataError when there is none, ConfigError for a dialect."""
        model = path / stage / "model" if (path / "run.json").is_file() else path
        model_files.check(model)
        model_files.stored_dtype(model)
        name = specs.find(model, dialect)
        dialects.get(name)
        run = model.resolve().parent.parent
        known = (run / "run.json").is_file() and model.name == "model"
        return cls(model, name, run if known else None, model.resolve().parent.name if known else stage)

    @property
    def corpus(self) -> Path | None:
        """The test split of the run."""
        path = None if self.run is None else self.run / "data" / "test.parquet"
        return path if path is not None and path.is_file() else None
