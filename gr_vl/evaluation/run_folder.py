"""What a run folder holds, read for a person or a program: finished stages, corpora, mining, evaluations.

Any part may be absent. What is absent or cannot be used becomes a note, so that a report of half a run is still true.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from gr_vl import specs, stages
from gr_vl.data import confined, io
from gr_vl.errors import DataError, GuardError
from gr_vl.evaluation import peers, published
from gr_vl.evaluation.answers import read_answers
from gr_vl.evaluation.metrics import Evaluation, Judged, judge, score
from gr_vl.schema import Sample
from gr_vl.specs import read_object
from gr_vl.stages import Kind
from gr_vl.tasks import GuardSpec

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
        """The stages that the whole run has, in order."""
        return tuple(self.meta.get("stages") or ())

    @cached_property
    def kinds(self) -> dict[str, Kind[Any]]:
        """What each stage does, of those that are expected or there; by its name where nothing says."""
        called = {name: name for name in stages.kinds() if (self.path / name).is_dir()}
        named = dict(self.meta.get("stages") or called)
        named |= {name: str(stage["kind"]) for name, stage in self.stages.items() if "kind" in stage}
        return {name: stages.kinds()[kind] for name, kind in named.items() if kind in stages.kinds()}

    @property
    def models(self) -> tuple[str, ...]:
        """The run's own models, in the order in which they are made."""
        return tuple(self.meta.get("models") or ())

    @property
    def trained(self) -> list[str]:
        """Those of them that a stage of the run has trained."""
        made: Mapping[str, str] = self.meta.get("models") or {}
        return [name for name, stage in made.items() if stage in self.kinds and self.kinds[stage].trains]

    @property
    def corpora(self) -> dict[str, tuple[str, str]]:
        """What a report calls the corpora of its stages: the stage, and the corpus among that stage's counts."""
        found: dict[str, tuple[str, str]] = {}
        for name, kind in self.kinds.items():
            for title, corpus in kind.makes.items():
                found[title if title not in found else f"{title}, {name}"] = name, corpus
        return found

    @cached_property
    def colours(self) -> dict[str, int]:
        """The number of the colour of everything that a plot or a table tells apart: models, then other stages."""
        judged = (name for models in self.judged.values() for name in models)
        trained = (name for name, kind in self.kinds.items() if kind.trains)
        return {name: index for index, name in enumerate(dict.fromkeys((*self.models, *judged, *trained)))}

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
    expected = tuple(meta.get("stages") or ())
    finished = {name: found[name] for name in ordered(found, expected)}
    if unfinished := [name for name in expected if name not in finished]:
        notes.append(f"Stages not run or not finished: {', '.join(unfinished)}.")
    guard = specs.stated(path / "run.json")
    judged = _judge_all(path, guard, tuple(meta.get("models") or ()), notes)
    return RunFolder(path, meta, guard, finished, judged, tuple(notes))


def ordered(names: Iterable[str], canonical: tuple[str, ...]) -> list[str]:
    """Names in canonical order, unknown ones after those, by the alphabet."""
    return sorted(names, key=lambda name: (canonical.index(name) if name in canonical else len(canonical), name))


def model_name(name: str) -> str:
    """How a person calls a model or the stage that made it.

    >>> model_name("sft"), model_name("rl_eco"), model_name("llama")
    ('SFT', 'RL-Eco', 'llama')
    """
    kind, *more = name.split("_")
    title = stages.kinds()[kind].title if kind in stages.kinds() else ""
    return "-".join((title, *(word.title() for word in more))) if title else name


def corpus_of(run: Path, split: str) -> Path:
    """The samples that were answered: those that the evaluation indexed, or else the whole split."""
    answered = run / "eval" / f"{split}.parquet"
    return answered if answered.is_file() else run / "data" / f"{split}.parquet"


def images_of(path: Path, ids: set[str]) -> dict[str, tuple[bytes, ...]]:
    """The encoded images of some samples of a corpus."""
    return {sample.id: sample.images for sample in io.iterate(path) if sample.id in ids}


def _judge_all(
    run: Path, guard: GuardSpec | None, own: tuple[str, ...], notes: list[str]
) -> dict[str, dict[str, list[Judged]]]:
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
        for model in ordered(models, own):
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
