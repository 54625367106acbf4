"""`gr_vl.Guard`: a model folder that judges exchanges, one at a time or many together, with reasoning or without."""

import asyncio
import threading
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image

from gr_vl import limits, model_files, models, specs
from gr_vl.data import images as image_files
from gr_vl.encoding import Encoded, Encoder
from gr_vl.errors import ConfigError, DataError
from gr_vl.guard.batching import Batcher
from gr_vl.guard.judge import Judge
from gr_vl.guard.moderation import Exchange, Moderation, Outcome, Question, check_room, joined, questions
from gr_vl.image_pixels import ImagePixels
from gr_vl.schema import Sample, Task

Picture = bytes | Image.Image | str | Path


class Guard:
    """A trained guard. Answers are greedy; equal inputs get equal answers, up to the rounding of another batch.

    Calls from several threads are answered one after the other; `amoderate` joins those that wait into batches.
    """

    def __init__(self, judge: Judge, encoder: Encoder, *, batch_size: int, image_root: Path | None) -> None:
        self.encoder, self.batch_size, self.image_root = encoder, batch_size, image_root
        self._judge, self._lock = judge, threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        device: str | None = None,
        dtype: str | None = None,
        dialect: str | None = None,
        max_tokens: int = 1024,
        batch_size: int = 16,
        image_root: str | Path | None = None,
        image_pixels: ImagePixels = ImagePixels(),  # noqa: B008 (frozen)
    ) -> "Guard":
        """Load a model folder. DataError when it is not whole, ConfigError for an unknown dialect or impossible limit.

        `device` is cuda where there is one; `dtype` is float32 on CPU and the stored one elsewhere; `dialect` is what
        the folder or its run says; ConfigError when neither names one. An answer has at most `max_tokens` tokens.
        Images given as paths are read below `image_root` and nowhere else; without a root, paths are refused. Images
        are scaled into the bounds that the folder was trained with, unless `image_pixels` says otherwise.
        """
        limits.count("batch_size", batch_size)
        path = model_files.check(Path(folder))
        encoder = Encoder.load(path, specs.find(path, dialect), pixels=image_pixels)
        check_room(encoder, max_tokens, model_files.positions(path))
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or ("float32" if device == "cpu" else model_files.stored_dtype(path))
        model = models.load_guard(path, encoder, dtype)
        root = None if image_root is None else Path(image_root)
        return cls(Judge(model.to(device), encoder, max_tokens), encoder, batch_size=batch_size, image_root=root)

    def moderate(
        self,
        prompt: str = "",
        images: Iterable[Picture] = (),
        response: str | None = None,
        *,
        think: bool = True,
        policy: str | None = None,
    ) -> Moderation:
        """Judge one exchange. Raises DataError when there is nothing to judge, or an image or the length is refused.

        `policy` is the text of the rules to judge by, one a line; DataError when the guard's dialect takes none.
        """
        return self.moderate_many([self.exchange(prompt, images, response, think=think, policy=policy)])[0]

    async def amoderate(
        self,
        prompt: str = "",
        images: Iterable[Picture] = (),
        response: str | None = None,
        *,
        think: bool = True,
        policy: str | None = None,
    ) -> Moderation:
        """`moderate` without blocking the event loop; calls that wait at the same time are answered together."""
        exchange = self.exchange(prompt, images, response, think=think, policy=policy)
        return await asyncio.wrap_future(self._batcher.submit([exchange])[0])

    def moderate_many(self, exchanges: Sequence[Exchange]) -> list[Moderation]:
        """Judge many exchanges in batches, in their order. Raises the DataError of the first that cannot be judged."""
        found: list[Moderation] = []
        for outcome in self.outcomes(exchanges):
            if isinstance(outcome, DataError):
                raise outcome
            found.append(outcome)
        return found

    def exchange(
        self,
        prompt: str = "",
        images: Iterable[Picture] = (),
        response: str | None = None,
        *,
        think: bool = True,
        policy: str | None = None,
    ) -> Exchange:
        """Those arguments as an exchange, its images read and their headers checked."""
        return Exchange(prompt, tuple(map(self._bytes, images)), response, think, policy)

    def outcomes(self, exchanges: Sequence[Exchange]) -> list[Outcome]:
        """For each exchange its judgement, or why there is none: one bad picture spoils nothing but itself."""
        with self._lock:  # a fast tokenizer serves one thread at a time
            return self._outcomes(exchanges)

    def scored(self, samples: Sequence[Sample], texts: Sequence[str]) -> list[dict[Task, float]]:
        """The scores of the labels that answers state which were written earlier, one answer to each sample.

        A sample is one question, that about its response where a dialect asks several. Raises DataError when an image
        is damaged.
        """
        found: list[dict[Task, float]] = []
        with self._lock:
            for start in range(0, len(samples), self.batch_size):
                batch = samples[start : start + self.batch_size]
                stated = [self.encoder.dialect.questions(sample)[-1][1] for sample in batch]
                asked = [Question(sample, tasks, tasks) for sample, tasks in zip(batch, stated, strict=True)]
                encoded = [self.encoder.prompt(sample) for sample in batch]
                found += self._judge.scored(asked, encoded, texts[start : start + self.batch_size])
        return found

    def _outcomes(self, exchanges: Sequence[Exchange]) -> list[Outcome]:
        found: dict[int, Outcome] = {}
        asked: dict[tuple[int, int], tuple[Question, Encoded]] = {}
        for index, exchange in enumerate(exchanges):
            try:
                encoded = [(one, self._judge.encode(one)) for one in questions(self.encoder.dialect, exchange)]
            except DataError as error:
                found[index] = error
            else:
                asked |= {(index, part): item for part, item in enumerate(encoded)}
        parts = {
            **self._answers({key: item for key, item in asked.items() if exchanges[key[0]].think}, think=True),
            **self._answers({key: item for key, item in asked.items() if not exchanges[key[0]].think}, think=False),
        }
        for index in {index for index, _ in asked}:
            found[index] = joined([parts[key] for key in asked if key[0] == index])
        return [found[index] for index in range(len(exchanges))]

    def _answers(
        self, asked: dict[tuple[int, int], tuple[Question, Encoded]], *, think: bool
    ) -> dict[tuple[int, int], Moderation]:
        """Answers by the place and part of their exchange, in batches of similar length."""
        judge = self._judge.reasoned if think else self._judge.unreasoned
        wanted = sorted(asked, key=lambda key: len(asked[key][1].ids))
        found: dict[tuple[int, int], Moderation] = {}
        for start in range(0, len(wanted), self.batch_size):
            batch = wanted[start : start + self.batch_size]
            answers = judge([asked[key][0] for key in batch], [asked[key][1] for key in batch])
            found |= dict(zip(batch, answers, strict=True))
        return found

    def close(self) -> None:
        """End the thread behind `amoderate`, after what it still has to answer."""
        if "_batcher" in self.__dict__:
            self._batcher.close()

    @cached_property
    def _batcher(self) -> Batcher:
        return Batcher(self.outcomes, batch_size=self.batch_size, limit=None)

    def _bytes(self, picture: Picture) -> bytes:
        if isinstance(picture, bytes):
            return picture
        if isinstance(picture, Image.Image):
            return image_files.encode_png(picture)
        if self.image_root is None:
            raise ConfigError(f"image {picture}: paths need image_root=DIR, below which they are read; or give bytes")
        return image_files.read(picture, root=self.image_root)
