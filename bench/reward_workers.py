"""16,384 answers through the real reward manager in two of verl's reward workers under Ray, from token ids to rewards.

    python bench/reward_workers.py [PRESET]

Target: at most 5 s on two cores. Needs gr-vl[train]; builds its own tokenizer and answers.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gr_vl import compose, dialects, jobs
from gr_vl.data import demo

os.environ.update(jobs.environment("cpu"))
ANSWERS, WORKERS = 16_384, 2


def batch(targets: list[str], truths: list[dict[str, str]], folder: Path) -> Any:
    """Answers as verl hands them over: padded ids, masks, labels."""
    import numpy as np
    import torch
    from transformers import AutoTokenizer
    from verl import DataProto

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [[*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for text in targets]
    rows = [rows[i % len(rows)] for i in range(ANSWERS)]
    prompt, width = 8, max(map(len, rows))
    responses = torch.full((ANSWERS, width), tokenizer.pad_token_id)
    mask = torch.zeros((ANSWERS, prompt + width), dtype=torch.long)
    for i, ids in enumerate(rows):
        responses[i, : len(ids)] = torch.tensor(ids)
        mask[i, : prompt + len(ids)] = 1
    tensors = {"prompts": torch.ones((ANSWERS, prompt), dtype=torch.long), "responses": responses}
    labels = np.array([{"ground_truth": truths[i % len(truths)]} for i in range(ANSWERS)], dtype=object)
    print(f"{ANSWERS} answers of {sum(map(len, rows)) / ANSWERS:.0f} tokens")
    return DataProto.from_dict(tensors=tensors | {"attention_mask": mask}, non_tensors={"reward_model": labels})


def main(preset: str, folder: Path) -> None:
    """Measure and print."""
    import ray
    from verl.experimental.reward_loop import RewardLoopManager

    from gr_vl import tiny_model

    samples = demo.build(0, {"train": 256})["train"]
    dialect = dialects.get("guardreasoner_vl")
    targets = [dialect.target(sample) for sample in samples]
    tiny_model.build(targets, folder, seed=0)
    truths = [{str(k): str(v) for k, v in dialect.expected(sample).items()} for sample in samples]
    settings = ["model=tiny", f"gr_vl.reward.preset={preset}", f"actor_rollout_ref.model.path={folder}"]
    config = compose.stage("guardreasoner_vl", "rl", [*settings, f"reward.num_workers={WORKERS}"]).config
    data = batch(targets, truths, folder)
    jobs.start_ray(config)
    manager = RewardLoopManager(config)
    manager.compute_rm_score(data[: 2 * WORKERS])
    for _ in range(3):
        begin = time.perf_counter()
        scored = manager.compute_rm_score(data)
        print(f"{preset}: {time.perf_counter() - begin:.2f} s, mean {scored.batch['rm_scores'].sum(1).mean():.3f}")
    ray.shutdown()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        main(sys.argv[1] if len(sys.argv) > 1 else "paper", Path(home))
