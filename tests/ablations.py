"""A recipe and grids small enough to plan in milliseconds, and cells whose guards have answered."""

from factories import answer_like_a_guard, make_corpus, write_json
from omegaconf import OmegaConf

from gr_vl.data import io
from gr_vl.evaluation.answers import write_answers

RECIPE = {
    "common": """
gr_vl: {recipe: mini, model: none, kind: "???", run: runs/mini, seed: 1, dialect: guardreasoner_vl, device: cpu}
""",
    "pipeline": """
stages: [data, concat, eval]
""",
    "data": """
defaults: [common, _self_]
gr_vl: {kind: data, data: {source: demo, folder: null, train: 12, validation: 6, test: 6}}
""",
    "concat": """
defaults: [common, _self_]
gr_vl:
  kind: concat
  concat: {corpus: "${gr_vl.run}/data/train.parquet", out: "${gr_vl.run}/concat/train.parquet", share: 0.2,
    balance: uniform, workers: 1, cache: null, cache_gb: 1.0,
           text_mode: turns, max_side: 1024}
""",
    "eval": """
defaults: [common, _self_]
gr_vl:
  kind: eval
  generation: {corpus: "${gr_vl.run}/data/test.parquet", samples: null, answers: 1, temperature: 0.0, top_p: 1.0}
  eval: {models: {rl: "${gr_vl.run}/concat/model"}, split: test}
actor_rollout_ref: {rollout: {prompt_length: 8, response_length: 8, max_model_len: null,
                              tensor_model_parallel_size: 1, n_gpus_per_node: 1}}
""",
}


def write_recipe(folder):
    """A recipe of three stages whose `eval` reads what `concat` makes."""
    folder.mkdir()
    for name, text in RECIPE.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def write_grid(folder, **changes):
    """A grid of a reference and a variant over that recipe, with two seeds."""
    grid = {"recipe": str(folder / "mini"), "seeds": [1, 2], "reference": "full"}
    grid |= {"variants": {"full": [], "alone": ["concat:gr_vl.concat.share=0.0"]}}
    if not (folder / "mini").exists():
        write_recipe(folder / "mini")
    OmegaConf.save({key: value for key, value in (grid | changes).items() if value is not None}, folder / "grid.yaml")
    return folder / "grid.yaml"


def finish(stage):
    """Leave what a finished stage leaves: its settings and its record."""
    stage.folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(stage.config, stage.folder / "config.yaml")
    write_json(stage.folder / "stage.json", {"stage": stage.name, "kind": stage.kind, "seconds": 60.0})


def answer(cell, skill, length=50):
    """Finish the evaluation of a cell with the answers of a guard of this skill."""
    stage = cell.stages[-1]
    finish(stage)
    samples = make_corpus(40, cell.seed)
    io.write(stage.folder / "test.parquet", samples)
    write_answers(stage.folder / "rl" / "test.jsonl", answer_like_a_guard(samples, skill, length, cell.seed))
