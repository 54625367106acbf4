"""How a guard's folder, or the run around it, says that the guard is spoken to."""

from pathlib import Path

from gr_vl.evaluation.run_folder import read_object

FACTS = "gr_vl.json"
"""Written by `gr-vl export`: {"dialect": name}."""


def dialect_of(folder: Path) -> str:
    """The dialect that the folder or the run around it names; the paper's when neither does.

    A run's models are RUN/STAGE/model and RUN/STAGE/checkpoints/STEP[/actor]/huggingface.
    """
    for path in (folder / FACTS, *(parent / "run.json" for parent in folder.resolve().parents[1:5])):
        if name := read_object(path).get("dialect"):
            return str(name)
    return "guardreasoner_vl"
