"""HS-DPO on verl's SFT trainer and engine: rows in pairs, another loss, and log-probabilities of the reference.

The reference is the model that training starts from, so nothing has to be loaded beside the policy: before the first
step, and before a resumed run loads its checkpoint, the engine holds the reference's weights and is asked once. The
answers are kept in a parquet file beside the pairs; they are taken from there as long as model and pairs are the same.
"""

import hashlib
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

    def _build_engine(self) -> None:
        super()._build_engine()
        self.train_dataset.reference = self._reference()
        settings = self.config.gr_vl.dpo
        self.training_client.set_loss_fn(partial(preference_loss, beta=settings.beta, sft_weight=settings.sft_weight))
        self.training_client = _Averaging(self.training_client)

    def _reference(self) -> list[tuple[float, float]]:
        """The start model's log-probabilities of all pairs: read where they were computed before, else computed."""
        path, key = Path(self.config.gr_vl.dpo.reference), _fingerprint(self.config)
        if path.is_file() and (table := pq.read_table(path)).schema.metadata == key:
            return list(zip(*(table[name].to_pylist() for name in ("chosen", "rejected")), strict=True))
        data, size = self.train_dataset, self.config.data.train_batch_size
        found: list[float] = []
        for start in range(0, len(data), size):
            report(path.parent, start, len(data), "reference")
            # The engine takes whole batches: the last one is filled up with the first pairs.
            batch = [data[index % len(data)] for index in range(start, start + size)]
            found += self._log_probs(collate(batch))
        pairs = list(zip(found[::2], found[1::2], strict=True))[: len(data)]
        names, columns = ("chosen", "rejected"), [pa.array(column) for column in zip(*pairs, strict=True)]
        part = path.with_suffix(".part")
        pq.write_table(pa.table(dict(zip(names, columns, strict=True))).replace_schema_metadata(key), part)
        part.replace(path)
        (path.parent / "progress.json").unlink()
        return pairs

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


def _fingerprint(config: DictConfig) -> dict[bytes, bytes]:
    """What the reference's answers depend on: the pairs, byte for byte, and the weights by name, size and time."""
    digest = hashlib.sha256(Path(config.data.train_files).read_bytes())
    for file in sorted(Path(config.model.path).glob("*.safetensors")):
        digest.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    return {b"pairs and model": digest.hexdigest().encode()}
