"""Images are stored once a corpus: what mining, length limits and the evaluation choose is an index of it."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from factories import HARMFUL, make_text

from gr_vl import compose
from gr_vl.data import io
from gr_vl.generation import Generator, Request
from gr_vl.stages import concat, data, evaluate, lengths, mine

COPIES = {"data/train.parquet", "data/validation.parquet", "data/test.parquet", "concat/train.parquet"}
"""The corpus in its splits, and the RL set with its merged images."""


class Servers:
    """verl's manager and client: every answer says harmful."""

    server_handles = (None, None)

    def __init__(self, encoder):
        text = encoder.tokenizer(make_text(HARMFUL, HARMFUL), add_special_tokens=False)
        self.ids = [*text["input_ids"], encoder.tokenizer.eos_token_id]

    def get_client(self):
        return self

    async def generate(self, name, **_):
        return SimpleNamespace(token_ids=self.ids)


@pytest.fixture
def stage(tmp_path, encoder, monkeypatch):
    """Runs a stage of the recipe in this run folder, with servers that are there at once."""

    def serve(config, folder):
        generator = Generator(Servers(encoder), encoder)
        monkeypatch.setattr(generator, "load", lambda model: None)
        corpus, rollout = Path(config.gr_vl.generation.corpus), config.actor_rollout_ref.rollout
        kept = lengths.fit(corpus, folder, encoder, rollout.prompt_length, "prompt_length", targets=False)
        return generator, Request(2, 1.0, 0.95, 1, rollout.response_length), kept

    for module in (mine, evaluate):
        monkeypatch.setattr(module, "serve", serve)

    def run(module, name, *overrides):
        return module.run(compose.stage("guardreasoner_vl", name, ["model=tiny", f"run={tmp_path}", *overrides]).config)

    return run


def with_images(run):
    return {str(path.relative_to(run)) for path in run.rglob("*.parquet") if "images" in pq.read_schema(path).names}


def test_from_data_to_the_evaluation_no_stage_but_concat_copies_images(stage, tmp_path, encoder):
    stage(data, "data", *(f"gr_vl.data.{split}=48" for split in data.SPLITS))
    for split in data.SPLITS:
        path = tmp_path / "data" / f"{split}.parquet"
        samples = io.read(path)
        # So that every stage has something to leave out.
        io.write(path, [dataclasses.replace(samples[0], id="long", prompt="word " * 500), *samples[1:]])
    for split in ("train", "validation"):
        fitted = tmp_path / "sft" / split
        kept = lengths.fit(tmp_path / "data" / f"{split}.parquet", fitted, encoder, 400, "max_length", targets=True)
        assert kept == lengths.Kept(fitted / "kept.parquet", 47, {"too long": 1})
    mined = stage(mine, "mine", "gr_vl.generation.samples=40")
    assert mined["sampled"] == 40
    assert mined["hard"] == data.count(io.iterate(tmp_path / "mine" / "hard.parquet"))
    drawn = io.ids(tmp_path / "mine" / "drawn.parquet")
    hard = io.ids(tmp_path / "mine" / "hard.parquet")
    assert hard == [id for id in drawn if id in set(hard)]
    assert drawn != sorted(drawn, key=io.ids(tmp_path / "data" / "train.parquet").index)
    made = stage(concat, "concat", "gr_vl.concat.share=0.2", "gr_vl.concat.workers=1")
    assert made["pairs"]
    long = dataclasses.replace(io.read(tmp_path / "concat" / "train.parquet")[0], id="long", prompt="word " * 500)
    io.write(tmp_path / "concat" / "train.parquet", [*io.read(tmp_path / "concat" / "train.parquet"), long])
    fitted = tmp_path / "rl" / "train"
    lengths.fit(tmp_path / "concat" / "train.parquet", fitted, encoder, 400, "max_prompt_length", targets=False)
    stage(evaluate, "eval", "gr_vl.eval.scores=false")
    assert len(io.read(tmp_path / "eval" / "test.parquet")) == 48
    assert with_images(tmp_path) == COPIES
    indexes = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.parquet")} - COPIES
    assert indexes == {
        "sft/train/kept.parquet",
        "sft/validation/kept.parquet",
        "mine/kept.parquet",
        "mine/drawn.parquet",
        "mine/hard.parquet",
        "mine/errors.parquet",
        "rl/train/kept.parquet",
        "eval/kept.parquet",
        "eval/test.parquet",
    }
