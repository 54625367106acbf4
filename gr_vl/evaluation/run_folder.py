"""What a run folder holds, read for a person or a program: finished stages, corpora, mining, evaluations.

Any part may be absent. What is absent or cannot be used becomes a note, so that a report of half a run is still true.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from gr_vl import specs
from gr_vl.data import confined, io
from gr_vl.errors import DataError, GuardError
from gr_vl.evaluation import peers, published
from gr_vl.evaluation.answers import read_answers
from gr_vl.evaluation.metrics import Evaluation, Judged, judge, score
from gr_vl.schema import Sample
from gr_vl.specs import read_object
from gr_vl.tasks import GuardSpec

STAGES = ("data", "base", "subset", "sft", "mine", "concat", "pairs", "pairs_ensemble", "dpo", "rl", "rl_eco", "eval")
"""Stages in order."""
EXPECTED = {
    "guardreasoner_vl": ("data", "base", "sft", "mine", "concat", "rl", "rl_eco", "eval"),
    "guardreasoner": ("data", "sft", "mine", "dpo", "eval"),
    "rsafe": ("data", "rl", "eval"),
}
"""The stages that a whole run of a recipe has, whichever of its variants it is."""
MODELS = {"base": "Base", "sft": "SFT", "dpo": "DPO", "rl": "RL", "rl_eco": "RL-Eco"}
"""Folder names of the models, in order, and how a person calls them."""
CORPORA = {
    "train": ("data", "train"),
    "validation": ("data", "validation"),
    "test": ("data", "test"),
    "hard (mined)": ("mine", "hard"),
    "concatenated": ("concat", "train"),
}
"""Corpora by what a person calls them: the stage that made one, and its name among that stage's counts."""
_SPLITS = ("test", "validation")


@dataclass(frozen=True)
class RunFolder:
    """A run as far as it got."""

    path: Path
    meta: Mapping[str, Any]
    """run.json."""
    guard: GuardSpec | None
    """What was asked and how answers are read; None where run.json does not say."""
    stages: Mapping[str, Mapping[str, Any]]
    """stage.json of every finished stage, in order."""
    judged: Mapping[str, Mapping[str, list[Judged]]]
    """Split, then model: every sample with its answer. The first split is the one that is reported in depth. Samples
    carry empty place holders for their images, since a benchmark of images may not fit in memory."""
    notes: tuple[str, ...]
    """What is missing, in words."""

    @property
    def expected(self) -> tuple[str, ...]:
        """The stages that the whole run has."""
        return expected(self.meta)

    @property
    def unparsable(self) -> str:
        """The failure rule of its evaluation, one of `UNPARSABLE`."""
        return str(self.meta.get("unparsable", "wrong"))

    @cached_property
    def evaluations(self) -> dict[str, dict[str, Evaluation]]:
        """Scores by split and model."""
        return {
            split: {model: self.score(judged) for model, judged in models.items()}
            for split, models in self.judged.items()
        }

    def score(self, judged: Sequence[Judged]) -> Evaluation:
        """Scores of some of its samples, by the run's failure rule and seed."""
        asked = self.guard.tasks if self.guard else ()
        return score(judged, asked=asked, unparsable=self.unparsable, seed=int(self.meta.get("seed") or 0))

    @property
    def seconds(self) -> float:
        """Wall time of all stages."""
        return float(sum(stage.get("seconds", 0) for stage in self.stages.values()))

    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""
        main = next(iter(self.evaluations.values()), {})
        return {
            "stages": {name: _without_name(stage) for name, stage in self.stages.items()},
            "eval": {model: result.summary() for model, result in main.items()},
            "seed": self.meta.get("seed"),
            "versions": self.meta.get("versions", {}),
            "seconds": self.seconds,
            **published.summary(self.evaluations),
        }


def load(path: Path) -> RunFolder:
    """Read a run folder. DataError when there is none, or when a JSON file in it is broken."""
    if not path.is_dir():
        raise DataError(f"{path}: no such run folder; run a stage first, or correct the path")
    notes: list[str] = []
    meta = read_object(path / "run.json")
    if not meta:
        notes.append("run.json is missing: recipe, seed and environment are unknown.")
    found = {file.parent.name: read_object(file) for file in sorted(confined.files(path, "*/stage.json", deep=False))}
    stages = {name: found[name] for name in ordered(found, STAGES)}
    if unfinished := [name for name in expected(meta) if name not in stages]:
        notes.append(f"Stages not run or not finished: {', '.join(unfinished)}.")
    guard = specs.stated(path / "run.json")
    judged = _judge_all(path, guard, notes)
    return RunFolder(path, meta, guard, stages, judged, tuple(notes))


def expected(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """The stages that a run with this run.json has; those of the paper's recipe when it names no known one."""
    return EXPECTED.get(str(meta.get("recipe")), EXPECTED["guardreasoner_vl"])


def ordered(names: Iterable[str], canonical: tuple[str, ...]) -> list[str]:
    """Names in canonical order, unknown ones after those, by the alphabet."""
    return sorted(names, key=lambda name: (canonical.index(name) if name in canonical else len(canonical), name))


def model_name(name: str) -> str:
    """How a person calls a model or the stage that made it."""
    return MODELS.get(name, name)


def corpus_of(run: Path, split: str) -> Path:
    """The samples that were answered: those that the evaluation indexed, or else the whole split."""
    answered = run / "eval" / f"{split}.parquet"
    return answered if answered.is_file() else run / "data" / f"{split}.parquet"


def images_of(path: Path, ids: set[str]) -> dict[str, tuple[bytes, ...]]:
    """The encoded images of some samples of a corpus."""
    return {sample.id: sample.images for sample in io.iterate(path) if sample.id in ids}


def _judge_all(run: Path, guard: GuardSpec | None, notes: list[str]) -> dict[str, dict[str, list[Judged]]]:
    others = peers.folders(run)
    files = [
        file
        for file in sorted(confined.files(run, "eval/*/*.jsonl", deep=False))
        if not (file.parent / peers.ASKED).exists()
    ]
    if not files and not others:
        notes.append("No answers under eval/: there are no scores and no transcripts.")
    judged: dict[str, dict[str, list[Judged]]] = {}
    for split in ordered({*others, *(file.stem for file in files)}, _SPLITS):
        models = {file.parent.name: file for file in files if file.stem == split} | others.get(split, {})
        try:
            samples = [replace(s, images=(b"",) * len(s.images)) for s in io.iterate(corpus_of(run, split))]
        except DataError as error:
            notes.append(f"Split {split} cannot be scored: {error}.")
            continue
        for model in ordered(models, tuple(MODELS)):
            path = models[model]
            try:
                items = peers.read(path, samples) if path.is_dir() else _judged(samples, path, guard)
            except GuardError as error:
                notes.append(f"Model {model} is not scored on {split}: {error}.")
            else:
                judged.setdefault(split, {})[model] = items
                if path.is_dir() and (refused := peers.refused(path)):
                    words = f"{len(refused)} calls about {split} were refused and count as unparsable"
                    notes.append(f"Model {model}: {words}, the first: {refused[0]['why']}.")
    return {split: models for split, models in judged.items() if any(models.values())}


def _judged(samples: list[Sample], answers: Path, guard: GuardSpec | None) -> list[Judged]:
    if guard is None:
        raise DataError("run.json names no guard, so nothing says how its answers are read; evaluate it again")
    return judge(samples, read_answers(answers), guard.dialect)


def _without_name(stage: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stage.items() if key != "stage"}
