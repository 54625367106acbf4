"""A model that judges batches of encoded exchanges. The only part of the guard that computes."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from gr_vl.answers import Ending
from gr_vl.decoding import collate, decode, log_probs
from gr_vl.encoding import Encoded, Encoder
from gr_vl.errors import DataError
from gr_vl.guard.moderation import Moderation, Question, Written, judged
from gr_vl.guard.scoring import Place, PlacesByTasks, walk
from gr_vl.models import image_token
from gr_vl.sampling import Draw, SeededSampler, vision_ids
from gr_vl.schema import Task

Batch = dict[str, torch.Tensor]


class Judge:
    """Greedy answers and their scores, of at most `max_tokens` tokens."""

    def __init__(self, model: Any, encoder: Encoder, max_tokens: int) -> None:
        self.model, self.max_tokens = model, max_tokens
        self._encoder, self._tokenizer = encoder, encoder.tokenizer
        self._forbidden = vision_ids(self._tokenizer)
        self._ended = Ending(self._tokenizer, encoder.dialect.stop)
        self._places = PlacesByTasks(self._tokenizer, encoder.dialect)

    def encode(self, question: Question) -> Encoded:
        """The prompt. Raises DataError when an image is damaged, or when there is no room for an answer."""
        encoded = self._encoder.prompt(question.sample)
        room = self.model.config.get_text_config().max_position_embeddings - self.max_tokens
        if len(encoded.ids) > room:
            raise DataError(f"exchange: {len(encoded.ids):,} tokens exceed the limit of {room:,}; shorten it")
        return replace(encoded, images=[])  # full-size pictures, of which the patches are all that is needed

    def reasoned(self, questions: Sequence[Question], encoded: Sequence[Encoded]) -> list[Moderation]:
        """Reasoning, then the verdict; the scores are read in a second pass over what was written."""
        began, n = time.perf_counter(), len(encoded)
        prompts = self._batch(encoded)
        sampler = SeededSampler([Draw(0, temperature=0.0)] * n, self.max_tokens, self._forbidden)
        limits, ended = [self.max_tokens] * n, [self._ended] * n
        rows = [row.tokens for row in decode(self.model, prompts, range(n), sampler, limits, ended)]
        texts = [self._tokenizer.decode(row, skip_special_tokens=True) for row in rows]
        places = [
            list(self._places[question.stated].of(row, text))
            for question, row, text in zip(questions, rows, texts, strict=True)
        ]
        listed = self._listed(prompts, places)
        seconds = time.perf_counter() - began
        return [
            judged(
                self._encoder.dialect,
                questions[i],
                Written(texts[i], self._ended(rows[i]), len(encoded[i].ids), len(rows[i]), seconds),
                {place.task: place.score(found) for place, found in zip(places[i], listed[i], strict=True)},
            )
            for i in range(n)
        ]

    def unreasoned(self, questions: Sequence[Question], encoded: Sequence[Encoded]) -> list[Moderation]:
        """The verdict alone, after empty reasoning: one pass over the prompt, one over the few ways to go on."""
        began = time.perf_counter()
        places = [self._places[question.stated].unreasoned for question in questions]
        listed = self._listed(self._batch(encoded), places)
        seconds, dialect, found = time.perf_counter() - began, self._encoder.dialect, []
        for question, prompt, ways, row in zip(questions, encoded, places, listed, strict=True):
            way = walk(ways, row)
            labels = {place.task: place.likeliest(probs) for place, probs in way.items()}
            tokens = sum(len(place.choices[labels[place.task]]) for place in way)
            written = Written(dialect.answer(labels), True, len(prompt.ids), tokens, seconds)
            scores = {place.task: place.score(probs) for place, probs in way.items()}
            found.append(judged(dialect, question, written, scores))
        return found

    def scored(
        self, questions: Sequence[Question], encoded: Sequence[Encoded], texts: Sequence[str]
    ) -> list[dict[Task, float]]:
        """The scores of answers that were written earlier, tokenised anew; none where one holds no verdict.

        A score that is no finite number is left out.
        """
        places = [
            list(self._places[question.stated].of(self._tokenizer(text, add_special_tokens=False)["input_ids"], text))
            for question, text in zip(questions, texts, strict=True)
        ]
        listed = self._listed(self._batch(encoded), places)
        return [
            {p.task: score for p, probs in zip(ways, row, strict=True) if math.isfinite(score := p.score(probs))}
            for ways, row in zip(places, listed, strict=True)
        ]

    def _batch(self, encoded: Sequence[Encoded]) -> Batch:
        # Any token will do: nothing looks at padding, and Llama has no token for it.
        batch = collate(encoded, self._tokenizer.pad_token_id or 0, image_token(self.model))
        return {
            name: value.to(self.model.device, self.model.dtype if value.is_floating_point() else value.dtype)
            for name, value in batch.items()
        }

    def _listed(self, prompts: Batch, places: Sequence[Sequence[Place]]) -> list[list[list[float]]]:
        """For every place the log-probability of each of its choices."""
        wanted = [item for i, row in enumerate(places) for place in row for item in place.continuations(i)]
        found = iter(log_probs(self.model, prompts, wanted) if wanted else ())
        return [[list(islice(found, len(place.choices))) for place in row] for row in places]
