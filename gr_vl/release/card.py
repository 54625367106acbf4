"""The model card: what is known about a guard, from its run's own files, and what is not."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from omegaconf import OmegaConf

import gr_vl
from gr_vl.release.source import Source
from gr_vl.specs import read_object


def card(source: Source, dtype: str, probes: int, worst: float) -> str:
    """README.md of the folder."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gr_vl.release"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("card.md.j2").render(
        source=source,
        version=gr_vl.__version__,
        dtype=dtype,
        probes=probes,
        worst=worst,
        **_known(source.run, source.stage),
    )


def _known(run: Path | None, stage: str) -> dict[str, Any]:
    if run is None:
        return {"meta": {}, "data": {}, "manifest": None, "scores": {}, "settings": None}
    summary = read_object(run / "summary.json")
    config = run / stage / "config.yaml"
    settings = OmegaConf.to_yaml(OmegaConf.load(config).gr_vl) if config.is_file() else None
    counts = summary.get("stages", {}).get("data", {}).get("counts", {})
    manifest = next((path.name for path in sorted((run / "data").glob("*manifest*.json"))), None)
    return {
        "meta": read_object(run / "run.json"),
        "data": {
            split: _by_label(found) for split, found in counts.items() if isinstance(found, dict) and "n" in found
        },
        "manifest": None if manifest is None else (run / "data" / manifest).read_text(encoding="utf-8"),
        "scores": summary.get("eval", {}),
        "settings": settings,
    }


def _by_label(counts: Mapping[str, int]) -> dict[str, int]:
    """Samples in all, by modality, and by task and label whatever their modality."""
    found: Counter[str] = Counter()
    for name, number in counts.items():
        found["/".join(name.split("/")[-2:])] += number
    return dict(found)
