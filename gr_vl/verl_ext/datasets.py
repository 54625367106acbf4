"""verl's datasets over our one corpus format: the same dialect and the same encoder for SFT, RL, mining and evaluation.

verl splits prompts on the literal text `<image>`; here images are structured parts of a message, so that a user who
writes `<image>` has written seven characters.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig
from verl.models.transformers.qwen2_vl import get_rope_index
from verl.utils.dataset.rl_dataset import RLHFDataset

from gr_vl import dialects
from gr_vl.data import io
from gr_vl.encoding import Encoded, Encoder
from gr_vl.schema import Sample


def _read(files: Any, max_samples: int) -> list[Sample]:
    paths = files if isinstance(files, list | ListConfig) else [files]
    samples = [sample for path in paths for sample in io.read(Path(path))]
    return samples if max_samples < 0 else samples[:max_samples]


def row(encoder: Encoder, encoded: Encoded) -> dict[str, Any]:
    """Tensors of one sequence: input_ids (n,), position_ids (4, n) or, for a model without images, (n,), loss_mask."""
    ids = torch.tensor(encoded.ids)
    positions = torch.arange(len(ids))
    if encoder.sees:
        grid, mask = encoded.features.get("image_grid_thw"), torch.ones_like(ids)
        vision = get_rope_index(encoder.processor, input_ids=ids, image_grid_thw=grid, attention_mask=mask)
        positions = torch.cat([positions[None], vision])
    return {
        "input_ids": ids,
        "position_ids": positions,
        "loss_mask": (torch.arange(len(ids)) >= encoded.prompt_length).long(),
        "multi_modal_inputs": encoded.features,
    }


class SFTData(torch.utils.data.Dataset[dict[str, Any]]):
    """Prompt and target, tokenised once as a whole; the loss sees the target and its end token only."""

    def __init__(
        self, parquet_files: Any, tokenizer: Any, config: DictConfig, processor: Any = None, max_samples: int = -1
    ) -> None:
        self.samples = _read(parquet_files, max_samples)
        self.encoder = Encoder(processor or tokenizer, dialects.get(config.custom_cls.dialect))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Tensors of one row."""
        return row(self.encoder, self.encoder.with_target(self.samples[index]))


class RLData(RLHFDataset):
    """Prompts with their images and the labels that a right answer states."""

    def __init__(
        self, data_files: Any, tokenizer: Any, config: DictConfig, processor: Any = None, max_samples: int = -1
    ) -> None:
        self.samples = _read(data_files, max_samples)
        self.encoder = Encoder(processor or tokenizer, dialects.get(config.custom_cls.dialect))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One prompt as verl's agent loop wants it."""
        sample = self.samples[index]
        labels = self.encoder.dialect.expected(sample)
        return {
            "raw_prompt": self.encoder.messages(sample),
            "data_source": sample.source,
            "reward_model": {"ground_truth": {str(task): str(label) for task, label in labels.items()}},
            "extra_info": {"id": sample.id, "images": [sha256(image).hexdigest()[:16] for image in sample.images]},
            "index": sample.id,
            "dummy_tensor": torch.zeros(1, dtype=torch.uint8),
        }

    def resume_dataset_state(self) -> None:
        """Nothing to restore: the samples are read from their file at every start."""

    @classmethod
    async def process_multi_modal_info(cls, messages: list[dict[str, Any]], **_: Any) -> tuple[Any, None, None]:
        """The images as decoded; resizing is the processor's alone, so that every stage sees the same pixels."""
        parts = [part for message in messages if not isinstance(message["content"], str) for part in message["content"]]
        return [part["image"] for part in parts if part["type"] == "image"] or None, None, None
