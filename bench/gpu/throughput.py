"""How fast SFT, rollouts, updates and weight transfer are on one large GPU: ours beside verl's default batching.

    python bench/gpu/throughput.py              # one GPU with 80 GB or more: Qwen2.5-VL of the 3B shape, random weights
    python bench/gpu/throughput.py --tiny       # the same script on two CPU cores, to see that it runs

Nothing is downloaded: model, tokenizer and corpus are made here. Answers have the full length, whatever they say. Both
variants run one after the other, with the same rows; "default" has verl's padding, micro-batches of a fixed number of
sequences, and no chunks of entropy. The first steps are left out. About 40 GB of disk; figures are written stage by
stage. As of now it has run with --tiny alone.

Model FLOPs utilisation: 6 x parameters x tokens / (seconds x peak), with all parameters, without attention and without
what gradient checkpointing computes again. The peak is that of bf16 without sparsity: 989e12 for H100, H200.
"""

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoConfig, AutoProcessor, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessor

from gr_vl import dialects, tiny_model
from gr_vl.data import io
from gr_vl.encoding import Encoder
from gr_vl.schema import Label, Sample, Task

PEAK, COLD = 989e12, 2
TEXT = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16}
TEXT |= {"num_key_value_heads": 2, "vocab_size": 151_936, "max_position_embeddings": 32_768, "initializer_range": 0.02}
TEXT |= {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}}
VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048}
VISION |= {"window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31], "initializer_range": 0.02}
SIDE, WORDS = 896, 300
"""Pixels of a picture's side, and words of a prompt and of its reasoning."""
COMMON = ["gr_vl.gpus_per_node=1", "gr_vl.base_model=${gr_vl.run}/base/model"]
SIZES = {
    "sft": [
        "data.train_batch_size=32",
        "data.max_length=3072",
        "checkpoint.save_contents=[hf_model]",
        "trainer.total_training_steps=8",
    ],
    "rl": [
        "data.train_files=${gr_vl.run}/data/train.parquet",
        "gr_vl.start_model=${gr_vl.run}/base/model",
        "gr_vl.reward.preset=token_price",
        "+gr_vl.reward.terms.token_price.price=0.4",
        "data.train_batch_size=32",
        "data.max_response_length=1024",
        "actor_rollout_ref.rollout.n=8",
        "actor_rollout_ref.actor.ppo_mini_batch_size=16",
        "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
        "actor_rollout_ref.rollout.ignore_eos=true",
        "actor_rollout_ref.actor.checkpoint.save_contents=[hf_model]",
        "trainer.total_training_steps=6",
    ],
}
DEFAULT = {
    "sft": ["data.use_dynamic_bsz=false", "data.micro_batch_size_per_gpu=4", "model.use_remove_padding=false"],
    "rl": [
        "actor_rollout_ref.actor.use_dynamic_bsz=false",
        "actor_rollout_ref.actor.entropy_from_logits_with_chunking=false",
        "actor_rollout_ref.model.use_remove_padding=false",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=4",
    ],
}
TINY = {
    "sft": [
        "data.train_batch_size=8",
        "data.micro_batch_size_per_gpu=4",
        "data.max_length=512",
        "trainer.total_training_steps=5",
    ],
    "rl": [
        *SIZES["rl"][:4],
        "data.max_prompt_length=480",
        "actor_rollout_ref.rollout.max_model_len=512",
        "data.train_batch_size=4",
        "data.max_response_length=32",
        "actor_rollout_ref.rollout.n=4",
        "actor_rollout_ref.actor.ppo_mini_batch_size=2",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=4",
        "trainer.total_training_steps=4",
    ],
}
"""On CPU padding and fixed micro-batches are ours too: both variants are the same there."""


def main() -> None:
    """Print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="0.9 M parameters on CPU")
    parser.add_argument("--out", type=Path, default=Path("throughput.json"), help="where the figures go")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="throughput_"))
    parameters = made(home / "shared", options.tiny)
    device = "CPU" if options.tiny else torch.cuda.get_device_name()
    found: dict[str, Any] = {"device": device, "parameters": parameters, "images": images(home / "shared")}
    for variant in ("ours", "default"):
        run = home / variant
        run.mkdir()
        for folder in ("data", "base"):
            (run / folder).symlink_to(home / "shared" / folder)
        found[variant] = {}
        for kind, measured in (("sft", sft), ("rl", rl)):
            figures = measured(run, options.tiny)
            tokens, seconds = figures[f"{kind} update tokens"], figures[f"{kind} update s"]
            figures[f"{kind} update tokens/s"] = tokens / seconds
            figures[f"{kind} update MFU %"] = 600 * parameters * tokens / (seconds * PEAK)
            found[variant] |= figures
            shutil.rmtree(run / kind)
            options.out.write_text(json.dumps(found, indent=2))
    table = Table("", "ours", "default", "ratio", title=f"{device}, {parameters / 1e6:.1f} M parameters")
    for name, value in found["ours"].items():
        other = found["default"][name]
        table.add_row(name, f"{value:.4g}", f"{other:.4g}", f"{value / other:.2f}" if other else "")
    Console().print(table, found["images"])
    shutil.rmtree(home)


def made(folder: Path, tiny: bool) -> int:
    """Write a corpus and a model of random weights; the number of parameters."""
    draw = random.Random(1)
    side, words, rows = (84, 12, 24) if tiny else (SIDE, WORDS, 256)
    samples = [_sample(index, side, words, draw) for index in range(rows)]
    (folder / "data").mkdir(parents=True)
    for split in ("train", "validation"):
        io.write(folder / "data" / f"{split}.parquet", samples)
    model = folder / "base" / "model"
    tiny_model.build((f"{sample.prompt} {sample.reasoning}" for sample in samples), model, seed=1)
    if not tiny:
        _enlarge(model)
    config = AutoConfig.from_pretrained(model)
    with torch.device("meta"):
        return sum(p.numel() for p in Qwen2_5_VLForConditionalGeneration(config).parameters())


def _sample(index: int, side: int, words: int, draw: random.Random) -> Sample:
    text = [" ".join(draw.choices(("a", "guard", "reads", "what", "users", "ask", "and", "answer"), k=words))] * 2
    picture = BytesIO()
    Image.frombytes("RGB", (side // 7, side // 7), draw.randbytes((side // 7) ** 2 * 3)).resize((side, side)).save(
        picture, "JPEG", quality=90
    )
    labels = dict.fromkeys((Task.PROMPT, Task.RESPONSE), Label.UNHARMFUL)
    images = (picture.getvalue(),) if index % 2 else ()
    return Sample(f"row-{index}", "bench", text[0], text[1], images, labels, text[1])


def _enlarge(model: Path) -> None:
    """Give a tiny model folder the 3B shape, in bf16, and the picture sizes of the published processor."""
    config, processor = AutoConfig.from_pretrained(model), AutoProcessor.from_pretrained(model)
    for part, shape in ((config.text_config, TEXT), (config.vision_config, VISION)):
        for name, value in shape.items():
            setattr(part, name, value)
    processor.image_processor = Qwen2VLImageProcessor(min_pixels=4 * 28 * 28, max_pixels=1280 * 28 * 28)
    processor.save_pretrained(model)
    config.text_config.layer_types = ["full_attention"] * config.text_config.num_hidden_layers
    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        large = Qwen2_5_VLForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    large.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    large.save_pretrained(model)
    # The stages have the device to themselves.
    del large
    torch.cuda.empty_cache()


def images(folder: Path) -> str:
    """Pictures that one process decodes and turns into patches in a second."""
    encoder = Encoder(AutoProcessor.from_pretrained(folder / "base" / "model"), dialects.get("guardreasoner_vl"))
    samples = [sample for sample in io.read(folder / "data" / "train.parquet") if sample.images][:32]
    begin = time.perf_counter()
    for sample in samples:
        encoder.prompt(sample)
    return f"{len(samples) / (time.perf_counter() - begin):.1f} prompts with a picture a second in one process"


def stage(kind: str, run: Path, tiny: bool) -> Path:
    """Run a stage to its end; its folder."""
    sizes = TINY if tiny else SIZES
    more = DEFAULT[kind] if run.name == "default" and not tiny else []
    settings = [f"model={'tiny' if tiny else '3b'}", f"run={run}", *COMMON, *sizes[kind], *more, "trainer.save_freq=99"]
    settings += ["trainer.test_freq=-1", "trainer.total_epochs=99"]
    command = [sys.executable, "-m", "gr_vl.cli", kind, "guardreasoner_vl", *settings]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"{kind} of {run.name} failed: see {run / kind / 'stage.log'}")
    return run / kind


def sft(run: Path, tiny: bool) -> dict[str, float]:
    """Tokens and seconds of an SFT step, from the times at which its events were written."""
    events = EventAccumulator(str(stage("sft", run, tiny) / "tensorboard")).Reload().Scalars("train/global_tokens")
    taken = [after.wall_time - before.wall_time for before, after in pairwise(events[COLD - 1 :])]
    tokens = statistics.mean(event.value for event in events[COLD:])
    return {"sft update tokens": tokens, "sft update s": statistics.median(taken)}


def rl(run: Path, tiny: bool) -> dict[str, float]:
    """Tokens and seconds of the parts of an RL step."""
    rows = [json.loads(line)["data"] for line in (stage("rl", run, tiny) / "metrics-0.jsonl").open()][COLD:]
    part = {name: statistics.median(row[f"timing_s/{name}"] for row in rows) for name in PARTS}
    answers = statistics.median(row["response_length/mean"] for row in rows) * _answers(run)
    tokens = statistics.median(row["perf/total_num_tokens"] for row in rows)
    return {
        "rollout tokens/s": answers / part["gen"],
        "rl update tokens": tokens,
        "rl update s": part["update_actor"],
        "weight sync s": part["update_weights"],
        "rl step s": part["step"],
        "rl GB of the GPU": max(row["actor/perf/max_memory_reserved_gb"] for row in rows),
    }


PARTS = ("gen", "update_actor", "update_weights", "step")


def _answers(run: Path) -> int:
    from omegaconf import OmegaConf

    config = OmegaConf.load(run / "rl" / "config.yaml")
    return int(config.data.train_batch_size * config.actor_rollout_ref.rollout.n)


if __name__ == "__main__":
    main()
