"""A reward term on a field that only one dialect has."""

from dataclasses import dataclass

from gr_vl.schema import Verdict


@dataclass(frozen=True)
class Why:
    """1 if the reason has at least so many words."""

    least: float = 3.0

    def __call__(self, answer):
        """0 without a verdict."""
        outcome = answer.outcome
        return float(isinstance(outcome, Verdict) and len(outcome.fields["why"].split()) >= self.least)
