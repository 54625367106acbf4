"""The same guard with reasoning and without, on a test split: F1, AUPRC, tokens, latency.

    python bench/hybrid.py runs/demo/rl/model runs/demo/data/test.parquet [N]

F1 with harmful as the positive class; unparsable answers count as harmful, as the guard does. Seconds are wall time of
the whole split in batches of 16, after a warm-up.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sklearn.metrics import average_precision_score, f1_score

import gr_vl
from gr_vl.data import io
from gr_vl.guard.moderation import Exchange, Moderation
from gr_vl.schema import Label, Sample, Task


def scores(samples: Sequence[Sample], found: Sequence[Moderation], task: Task) -> str:
    """F1 and AUPRC of one task, in percent."""
    rows = [(s.labels[task], m) for s, m in zip(samples, found, strict=True) if task in m.labels and task in s.labels]
    truth = [label == Label.HARMFUL for label, _ in rows]
    said = [moderation.labels[task] == Label.HARMFUL for _, moderation in rows]
    area = average_precision_score(truth, [moderation.scores[task] for _, moderation in rows])
    return f"{task} F1 {100 * f1_score(truth, said):5.1f} AUPRC {100 * area:5.1f}"


def main(model: str, corpus: str, count: int) -> None:
    """Measure and print."""
    guard = gr_vl.Guard.from_pretrained(model, max_tokens=256)
    samples = io.read(Path(corpus))[:count]
    for think in (True, False):
        exchanges = [Exchange(sample.prompt, sample.images, sample.response, think) for sample in samples]
        guard.moderate_many(exchanges[:4])
        began = time.perf_counter()
        found = guard.moderate_many(exchanges)
        seconds = time.perf_counter() - began
        tokens = sum(moderation.written.tokens for moderation in found) / len(found)
        unread = sum(moderation.failure is not None for moderation in found)
        tasks = "  ".join(scores(samples, found, task) for task in (Task.PROMPT, Task.RESPONSE))
        took = f"{1000 * seconds / len(found):.1f} ms each"
        print(f"think={think!s:<5} {tasks}  tokens {tokens:.1f}  unparsable {unread}  {took}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1000)
