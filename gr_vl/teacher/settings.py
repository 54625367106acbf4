"""What a teacher run is asked for, refused early when it cannot be done."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gr_vl import limits
from gr_vl.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """A teacher run. Raises ConfigError naming the option; the API key itself is never held here."""

    source: Path
    """Corpus to read; rows that have reasoning already are kept as they are."""
    out: Path
    """Corpus to write; the journal, the quarantine and the summary stand beside it."""
    model: str
    base_url: str
    dialect: str
    """The guard's grammar."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key."""
    concurrency: int = 8
    max_tokens: int = 3584
    """Tokens of one reply at most; the papers' value."""
    attempts: int = 3
    """Replies that a sample may get before it is quarantined."""
    tries: int = 6
    """Requests for one reply while the server is busy, broken or silent."""
    timeout: float = 300.0
    """Seconds to wait for a reply."""
    backoff: float = 1.0
    """Seconds that the first wait between two tries may take; it doubles up to a minute, and Retry-After rules."""
    budget_tokens: int | None = None
    budget_usd: float | None = None
    price_in: float | None = None
    """US dollars per million prompt tokens."""
    price_out: float | None = None
    """US dollars per million reply tokens."""

    def __post_init__(self) -> None:
        positive = ("concurrency", "max_tokens", "attempts", "tries", "timeout", "budget_tokens", "budget_usd")
        for name in (*positive, "backoff", "price_in", "price_out"):
            if (value := getattr(self, name)) is not None:
                limits.above(_option(name), value, reached=name not in positive)
        if (self.price_in is None) != (self.price_out is None):
            raise ConfigError("--price-in and --price-out: give both or neither, in US dollars per million tokens")
        if self.budget_usd is not None and self.price_in is None:
            raise ConfigError(f"--budget-usd {self.budget_usd}: needs --price-in and --price-out")
        address = urlsplit(self.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ConfigError(f"--base-url {self.base_url}: no address; write one such as https://api.openai.com/v1")
        if address.username or address.password:
            raise ConfigError("--base-url: holds a password; put it into the variable that --api-key-env names")
        if self.out.suffix != ".parquet":
            raise ConfigError(f"OUT={self.out}: must end in .parquet")
        if self.out.resolve() == self.source.resolve():
            raise ConfigError(f"OUT={self.out}: is the input; name another file")

    @property
    def journal(self) -> Path:
        """Every call, in JSON lines: what makes a run resumable. Delete it to begin anew."""
        return self.out.with_suffix(".calls.jsonl")

    @property
    def quarantine(self) -> Path:
        """The samples without usable reasoning, with the reason."""
        return self.out.with_suffix(".quarantine.jsonl")

    @property
    def summary(self) -> Path:
        """Counts, tokens and money of the whole run."""
        return self.out.with_suffix(".summary.json")

    def api_key(self) -> str:
        """The key. Raises ConfigError when the variable is not set."""
        if not (key := os.environ.get(self.api_key_env, "").strip()):
            raise ConfigError(
                f"--api-key-env {self.api_key_env}: not set; export the key, or any word for a server that wants none"
            )
        return key

    def to_json(self) -> dict[str, Any]:
        """Plain values for another process; `from_json` reads them."""
        return asdict(self) | {"source": str(self.source), "out": str(self.out)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Settings":
        """The settings that `to_json` wrote."""
        return cls(**(values | {"source": Path(values["source"]), "out": Path(values["out"])}))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
