"""From a sample to the tokens and pixels that a model sees: one way, used by every stage."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from gr_vl import dialects
from gr_vl.data import images
from gr_vl.data.text import whole
from gr_vl.dialects import Dialect, Message
from gr_vl.errors import DataError
from gr_vl.image_pixels import ImagePixels
from gr_vl.model_files import loading
from gr_vl.schema import Sample


@dataclass(frozen=True)
class Encoded:
    """Tokens of a prompt, and of its target when there is one."""

    ids: list[int]
    prompt_length: int
    images: list[Image.Image]
    features: dict[str, Any]
    """pixel_values (patches, patch size) and image_grid_thw (images, 3); empty without images."""


PROCESSOR_WORDS = ("<|placeholder|>",)
"""What Qwen's processors turn into an image token beside a picture, although no tokenizer lists it."""


_TAG = re.compile(r"<\S+>")

PROBES = ((1, 1), (28, 28), (84, 84), (150, 40), (60, 300), (640, 480), (1024, 1024), (3000, 2000), (8000, 5000))
"""Sizes of pictures, in pixels, that tell one image processor's settings from another's."""


def probe(dialect: Dialect) -> Sample:
    """A sample that shows what a dialect writes by itself."""
    return Sample("", "", "p", "r", labels={task: task.worst for task in dialect.tasks}, reasoning="r")


class Encoder:
    """Applies a dialect and the chat template of a processor, or of the tokenizer of a model that reads text alone.

    Whoever writes a control token such as `<|im_end|>` has written its letters: they cannot end their turn, speak for
    another or claim an image. A space after its first letter makes it so in the text itself, since text is what verl
    renders, tokenises and, for the pictures, even reads back from tokens: ids that merely spell a control token would
    come alive there. Everything else, NUL and bidi controls included, is encoded as it stands.
    """

    def __init__(self, processor: Any, dialect: Dialect) -> None:
        self.processor, self.dialect = processor, dialect
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.control_words = sorted({*self._live(), *PROCESSOR_WORDS}, key=lambda word: (-len(word), word))
        """What a text may not say, the longest first."""
        self._control = re.compile("|".join(map(re.escape, self.control_words)))

    @classmethod
    def load(
        cls,
        model: str | Path,
        dialect: str,
        *,
        template: str | None = None,
        pixels: ImagePixels = ImagePixels(),  # noqa: B008 (frozen)
    ) -> "Encoder":
        """That of a model folder, or of a hub's model; `template` is for those without a chat template of their own.

        Raises DataError when a folder's files cannot be used, ConfigError when `pixels` cannot be its bounds.
        """
        from transformers import AutoProcessor

        with loading(model):
            processor = AutoProcessor.from_pretrained(model, local_files_only=Path(model).is_dir())
            processor.chat_template = template or processor.chat_template
            pixels.apply(processor, str(model))
            encoder = cls(processor, dialects.get(dialect))
            if not encoder.prompt(probe(encoder.dialect)).ids:
                raise DataError(f"{model}: its tokenizer makes no tokens of a text; fetch it again, as a whole")
        return encoder

    def _live(self) -> list[str]:
        """The tokenizer's control tokens. Some are not marked special, such as Qwen's <tool_call>; neither are a
        dialect's own tags, in tokenizers that have them, and its targets must be able to write those."""
        sample = probe(self.dialect)
        messages = self.dialect.messages(sample)
        own = [part["text"] for message in messages for part in message["content"] if part["type"] == "text"]
        written = "\n".join([*own, self.dialect.target(sample)])
        tokens = self.tokenizer.added_tokens_decoder.values()
        return [str(one) for one in tokens if one.special or (_TAG.fullmatch(str(one)) and str(one) not in written)]

    def messages(self, sample: Sample) -> list[Message]:
        """The dialect's messages with decoded images in place of the place holders."""
        pictures = map(images.decode, sample.images)
        messages = self.turns(sample)
        for part in (part for message in messages for part in message["content"] if sample.images):
            if part["type"] == "image":
                part["image"] = next(pictures)
        return messages

    def prompt(self, sample: Sample) -> Encoded:
        """The prompt up to where the guard begins to write."""
        asked = self.request(sample)
        if not asked.images:
            return asked
        found = self.processor.image_processor(images=asked.images, return_tensors="pt")
        return replace(asked, features={name: found[name] for name in ("pixel_values", "image_grid_thw")})

    def request(self, sample: Sample) -> Encoded:
        """The prompt as a rollout server is asked it: that makes the features, so no pixel is processed here."""
        messages = self.messages(sample)
        ids = self.tokenizer(self._render(messages), add_special_tokens=False)["input_ids"]
        if not (self.sees and sample.images):
            return Encoded(ids, len(ids), [], {})
        pictures = [part["image"] for m in messages for part in m["content"] if part["type"] == "image"]
        place, sizes = self.tokenizer.convert_tokens_to_ids(self.processor.image_token), iter(pictures)
        ids = [id for one in ids for id in ([one] * self._image_tokens(*next(sizes).size) if one == place else [one])]
        return Encoded(ids, len(ids), pictures, {})

    def with_target(self, sample: Sample) -> Encoded:
        """The prompt, the dialect's target and the end token."""
        return self.with_answer(self.prompt(sample), self.dialect.target(sample))

    def with_answer(self, prompt: Encoded, text: str, *, ended: bool = True) -> Encoded:
        """The prompt and an answer, with the end token unless a limit cut the answer off."""
        answer = self.tokenizer(self._plain(text), add_special_tokens=False)["input_ids"]
        ids = [*prompt.ids, *answer, *([self.tokenizer.eos_token_id] if ended else [])]
        return Encoded(ids, prompt.prompt_length, prompt.images, prompt.features)

    @property
    def sees(self) -> bool:
        """Whether the model reads images."""
        return self.processor is not self.tokenizer

    def lengths(self, samples: Sequence[Sample], *, targets: bool) -> list[int]:
        """Tokens of each row, with its target or without. Of images the headers are read, nothing is decoded."""
        rows = [self._render(self.turns(sample)) for sample in samples]
        if targets:
            end = self.tokenizer.eos_token
            rows = [
                f"{row}{self._plain(self.dialect.target(sample))}{end}"
                for row, sample in zip(rows, samples, strict=True)
            ]
        tokens = self.tokenizer(rows, add_special_tokens=False)["input_ids"] if rows else []
        return [
            len(ids) + self.visual_tokens(sample) - len(sample.images)
            for ids, sample in zip(tokens, samples, strict=True)
        ]

    def visual_tokens(self, sample: Sample) -> int:
        """Tokens that the images of a sample take, from their headers."""
        return sum(self._image_tokens(*images.size(data)) for data in sample.images)

    @cached_property
    def fingerprint(self) -> str:
        """What encoders of the same lengths share, wherever they were saved: the tokenizer, and what the rest does."""
        tokenizer = json.loads(self.tokenizer.backend_tokenizer.to_str())
        sample = probe(self.dialect)
        shown = [sample, replace(sample, images=(b"",))] if self.sees else [sample]
        rendered = [self._render(self.turns(sample)) for sample in shown]
        sizes = [self._image_tokens(*size) for size in PROBES if self.sees]
        parts = [{**tokenizer, "padding": None, "truncation": None}, rendered, self.dialect.target(sample), sizes]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def turns(self, sample: Sample) -> list[Message]:
        """The dialect's messages as the chat template takes them, pictures as place holders.

        Raises DataError where a picture is asked of a model that reads text alone.
        """
        messages = self.dialect.messages(sample)
        for message in messages:
            for part in message["content"]:
                if part["type"] == "text":
                    part["text"] = self._plain(part["text"])
        if self.sees:
            return messages
        if sample.images:
            raise DataError(f"sample {sample.id!r} has an image, and the model reads text alone; leave it out")
        # Templates of such models know no parts.
        return [message | {"content": "".join(part["text"] for part in message["content"])} for message in messages]

    def _plain(self, text: str) -> str:
        """The text with a space inside every control token, which leaves its letters readable and its power gone."""
        return self._control.sub(lambda match: f"{match[0][0]} {match[0][1:]}", whole(text))

    def _render(self, messages: list[Message]) -> str:
        text: str = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text

    def _image_tokens(self, width: int, height: int) -> int:
        tower = self.processor.image_processor
        patches: int = tower.get_number_of_image_patches(height, width, {})
        return patches // int(tower.merge_size) ** 2
