"""HS-DPO on verl's SFT trainer and engine: rows in pairs, another loss, and log-probabilities of the reference.

The reference is the model that training starts from, so nothing has to be loaded beside the policy: before the first
step, and before a resumed run loads its checkpoint, the engine holds the reference's weights and is asked once. The
answers are kept in a parquet file beside the pairs; they are taken from there as long as model and pairs are the same.
Pairs held out are asked about in the same way before the first step and after the last.
"""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig
from verl.utils import tensordict_utils as tu
from verl.utils.dataset.dataset_utils import DatasetPadMode, SFTTensorCollator
from verl.utils.metric import reduce_metrics

from gr_vl import dialects
from gr_vl.augment import preference
from gr_vl.data import io
from gr_vl.data.build.files import sha256, whole
from gr_vl.encoding import Encoder
from gr_vl.preference_loss import Pairs, dpo, sums
from gr_vl.progress import report
from gr_vl.verl_ext.datasets import row
from gr_vl.verl_ext.sft_trainer import GuardSFT

Row = dict[str, Any]


class PreferenceData(torch.utils.data.Dataset[list[Row]]):
    """Pairs as two rows each, the chosen answer first."""

    def __init__(
        self, parquet_files: Any, tokenizer: Any, config: DictConfig, processor: Any = None, max_samples: int = -1
    ) -> None:
        self.pairs = preference.read(Path(parquet_files))
        self.encoder = Encoder(processor or tokenizer, dialects.get(config.custom_cls.dialect))
        self.reference = [(0.0, 0.0)] * len(self.pairs)
        """Log-probabilities of the chosen and the rejected answer of each pair under the reference."""

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> list[Row]:
        """Tensors of both rows; alpha and reference are of shape (1,)."""
        pair, encoder = self.pairs[index], self.encoder
        prompt = encoder.prompt(pair.sample)
        answers = [(pair.chosen, True), (pair.rejected, pair.rejected_ended)]
        return [
            row(encoder, encoder.with_answer(prompt, text, ended=ended))
            | {"alpha": torch.tensor([pair.weight]), "reference": torch.tensor([log_prob])}
            for (text, ended), log_prob in zip(answers, self.reference[index], strict=True)
        ]


def collate(batch: list[list[Row]]) -> Any:
    """Rows of all pairs, one after another: verl cuts batches into contiguous parts, so pairs of rows stay together."""
    return SFTTensorCollator(DatasetPadMode.NO_PADDING)([item for pair in batch for item in pair])


def _row_sums(log_probs: Any, data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each row's answer, and its number of tokens."""
    lengths = log_probs.offsets().diff()
    # A token's log-probability stands where the token before it stands.
    mask = torch.roll(data["loss_mask"].values(), -1)
    return sums(log_probs.values().float(), mask, lengths), sums(mask.float(), mask, lengths)


def preference_loss(
    model_output: Any, data: Any, dp_group: Any = None, *, beta: float, sft_weight: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """This micro-batch's part of the mean over the global batch, in verl's scale, and what it is made of."""
    log_probs, tokens = _row_sums(model_output["log_probs"], data)
    reference, alpha = data["reference"].values(), data["alpha"].values()[::2]
    pairs = Pairs(log_probs[::2], log_probs[1::2], reference[::2], reference[1::2])
    preferred, nll = dpo(pairs, alpha, beta), -pairs.chosen / tokens[::2]
    loss = (preferred + sft_weight * nll).sum() / data["global_batch_size"] * data["dp_size"]
    margins = pairs.margins(beta).detach()
    return loss, {
        "dpo/loss": preferred.detach().mean().item(),
        "dpo/nll": nll.detach().mean().item(),
        "dpo/margin": margins.mean().item(),
        "dpo/accuracy": (margins > 0).float().mean().item(),
    }


class _Averaging:
    """A worker group whose training metrics are means over micro-batches and ranks; verl's SFT loop logs them raw."""

    def __init__(self, group: Any) -> None:
        self._group = group

    def __getattr__(self, name: str) -> Any:
        return getattr(self._group, name)

    def train_batch(self, data: Any) -> "_Averaged":
        return _Averaged(self._group.train_batch(data))


class _Averaged:
    def __init__(self, future: Any) -> None:
        self._future = future

    def get(self) -> Any:
        output = self._future.get()
        metrics = tu.get(output, "metrics")
        ours = {name: torch.tensor(values).flatten().tolist() for name, values in metrics.items() if "dpo/" in name}
        metrics.update(reduce_metrics(ours))
        return tu.get_tensordict({}, {"metrics": metrics})


class PreferenceTrainer(GuardSFT):
    """The SFT trainer with pairs for rows."""

    training_client: Any

    def _build_dataloader(self) -> None:
        super()._build_dataloader()
        self.train_dataloader.collate_fn = collate
        # verl would log the loss of whole batches alone; see `_measure`.
        self.val_dataloader = None

    def _build_engine(self) -> None:
        super()._build_engine()
        settings, files = self.config.gr_vl.dpo, self.config.data
        path = Path(settings.reference)
        self.train_dataset.reference = self._reference(self.train_dataset, files.train_files, path)
        if self.val_dataset:
            path = path.with_name("held_out_reference.parquet")
            self.val_dataset.reference = self._reference(self.val_dataset, files.val_files, path)
        self.training_client.set_loss_fn(partial(preference_loss, beta=settings.beta, sft_weight=settings.sft_weight))
        self.training_client = _Averaging(self.training_client)

    def on_step_end(self, step: int) -> None:
        """What happens between two steps; the last one is measured before its checkpoint makes it final."""
        if step == self.total_training_steps and self.val_dataset:
            self._measure()
        super().on_step_end(step)

    def _measure(self) -> None:
        """Write the margin of the held-out pairs: its mean, and the share of pairs in which it is above 0."""
        columns = [
            torch.tensor(column, dtype=torch.float64)
            for rows in (self._asked(self.val_dataset, "held-out pairs"), self.val_dataset.reference)
            for column in zip(*rows, strict=True)
        ]
        margins = Pairs(*columns).margins(self.config.gr_vl.dpo.beta)
        found = {"n": len(margins), "margin": margins.mean().item(), "accuracy": (margins > 0).double().mean().item()}
        Path(self.config.gr_vl.dpo.reference).with_name("held_out.json").write_text(json.dumps(found))

    def _reference(self, data: PreferenceData, pairs: str, path: Path) -> list[tuple[float, float]]:
        """The start model's log-probabilities of all pairs: read where they were computed before, else computed."""
        key = _fingerprint(self.config, pairs)
        if path.is_file() and (table := pq.read_table(path)).schema.metadata == key:
            return list(zip(*(table[name].to_pylist() for name in ("chosen", "rejected")), strict=True))
        found = self._asked(data, "reference")
        names, columns = ("chosen", "rejected"), [pa.array(column) for column in zip(*found, strict=True)]
        with whole(path) as part:
            pq.write_table(pa.table(dict(zip(names, columns, strict=True))).replace_schema_metadata(key), part)
        return found

    def _asked(self, data: PreferenceData, note: str) -> list[tuple[float, float]]:
        """Log-probabilities of the chosen and the rejected answer of each pair under the weights as they are."""
        size, folder = self.config.data.train_batch_size, Path(self.config.gr_vl.dpo.reference).parent
        found: list[float] = []
        for start in range(0, len(data), size):
            self._enter("update")
            report(folder, start, len(data), note)
            # The engine takes whole batches: the last one is filled up with the first pairs.
            batch = [data[index % len(data)] for index in range(start, start + size)]
            found += self._log_probs(collate(batch))
        (folder / "progress.json").unlink()
        return list(zip(found[::2], found[1::2], strict=True))[: len(data)]

    def _log_probs(self, batch: Any) -> list[float]:
        settings = {
            "use_remove_padding": self.config.model.use_remove_padding,
            "use_dynamic_bsz": False,
            "micro_batch_size_per_gpu": self.config.data.micro_batch_size_per_gpu,
            "temperature": 1.0,
            "global_batch_size": self.config.data.train_batch_size,
            "pad_mode": self.config.data.pad_mode,
            "pad_token_id": self.model_config.tokenizer.pad_token_id,
            "compute_loss": False,
        }
        data = tu.get_tensordict(batch, settings)
        log_probs = self.training_client.infer_batch(data).get()["log_probs"]
        return _row_sums(log_probs, batch)[0].tolist()


def _fingerprint(config: DictConfig, pairs: str) -> dict[bytes, bytes]:
    """What the reference's answers depend on: the pairs, byte for byte, and the weights by name, size and time."""
    digest = hashlib.sha256("".join(map(sha256, io.files(Path(pairs)))).encode())
    for file in sorted(Path(config.model.path).glob("*.safetensors")):
        digest.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    return {b"pairs and model": digest.hexdigest().encode()}
