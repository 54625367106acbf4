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
from gr_vl.evaluation.adapters.base import NOT_JUDGED, Adapter, Call, Reader
from gr_vl.evaluation.adapters.llama_guard import LlamaGuard
from gr_vl.evaluation.adapters.qwen3guard import Qwen3Guard
from gr_vl.evaluation.adapters.shieldgemma2 import ShieldGemma2
from gr_vl.evaluation.adapters.wildguard import WildGuard
from gr_vl.schema import ParseFailure, Sample, Verdict

__all__ = ["Adapter", "Call", "Reader", "get", "reader"]

_PEERS: dict[str, Adapter] = {
    "llama_guard": LlamaGuard(sees=False),
    "llama_guard_vision": LlamaGuard(sees=True),
    "qwen3guard": Qwen3Guard(strict=True),
    "qwen3guard_loose": Qwen3Guard(strict=False),
    "shieldgemma2": ShieldGemma2(),
    "wildguard": WildGuard(),
}


@dataclass(frozen=True)
class Ours:
    """A dialect as an adapter."""

    dialect: Dialect

    def calls(self, sample: Sample) -> list[Call]:
        """The dialect's one request."""
        return [Call(self.dialect.messages(sample), sample.images)]

    def read(self, texts: Sequence[str]) -> Verdict | ParseFailure:
        """The dialect's verdict."""
        return self.dialect.parse(texts[0]) if texts else NOT_JUDGED


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
