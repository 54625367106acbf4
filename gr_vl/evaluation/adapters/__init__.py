"""Other guards' ways of being asked and of answering, so that one command compares them with ours.

An adapter differs from a dialect: it is never trained on, it may need several requests for one sample, and it may rely
on the chat template that the guard's checkpoint ships. Every dialect is an adapter too: our own guards, or any chat
model, asked with our instruction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gr_vl import dialects
from gr_vl.dialects import Dialect
from gr_vl.errors import ConfigError
from gr_vl.evaluation.adapters import guardreasoner
from gr_vl.evaluation.adapters.base import NOT_JUDGED, Adapter, Call, Reader, reply
from gr_vl.evaluation.adapters.llama_guard import LlamaGuard
from gr_vl.evaluation.adapters.qwen3guard import Qwen3Guard
from gr_vl.evaluation.adapters.shieldgemma2 import ShieldGemma2
from gr_vl.evaluation.adapters.wildguard import WildGuard
from gr_vl.schema import Label, ParseFailure, Sample, Task, Verdict

__all__ = ["NOT_JUDGED", "Adapter", "Call", "Reader", "get", "reader"]

_PEERS: dict[str, Adapter] = {
    "llama_guard": LlamaGuard(sees=False),
    "llama_guard_vision": LlamaGuard(sees=True),
    "qwen3guard": Qwen3Guard(strict=True),
    "qwen3guard_loose": Qwen3Guard(strict=False),
    "shieldgemma2": ShieldGemma2(),
    "wildguard": WildGuard(),
}


_EXCHANGE = Sample("", "", "", "")
"""Poses every question, in the order in which those of any sample come."""


@dataclass(frozen=True)
class Ours:
    """A dialect as an adapter."""

    dialect: Dialect

    def calls(self, sample: Sample) -> list[Call]:
        """One request for each of the dialect's questions."""
        asked = [question for question, _ in self.dialect.questions(sample)]
        return [Call(self.dialect.messages(question), question.images) for question in asked]

    def read(self, texts: Sequence[str]) -> Verdict | ParseFailure:
        """The labels that each reply settles; the first reply without a verdict leaves the whole without one."""
        labels: dict[Task, Label] = {}
        outcomes = [self.dialect.parse(reply(text)) for text in texts]
        for outcome, (_, settled) in zip(outcomes, self.dialect.questions(_EXCHANGE), strict=False):
            if isinstance(outcome, ParseFailure):
                return outcome
            labels |= {task: outcome.labels[task] for task in settled}
        if not labels:
            return NOT_JUDGED
        verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
        reasoning = "\n\n".join(verdict.reasoning for verdict in verdicts)
        well_formed, sectioned = (all(getattr(v, name) for v in verdicts) for name in ("well_formed", "sectioned"))
        return Verdict(labels, reasoning, well_formed, sectioned)


def get(name: str) -> Adapter:
    """The peer's adapter or the dialect of that name, to ask a guard with; ConfigError lists the known ones."""
    if name in _PEERS:
        return _PEERS[name]
    try:
        return Ours(dialects.get(name))
    except ConfigError as error:
        known = str(error).rpartition(": ")[2]
        raise ConfigError(f"--adapter {name}: unknown; use one of: {', '.join(_PEERS)}, {known}") from None


def reader(name: str) -> Reader:
    """What reads answers that are there already; `guardreasoner` reads the released answers of that family."""
    return guardreasoner.read if name == "guardreasoner" else get(name).read
