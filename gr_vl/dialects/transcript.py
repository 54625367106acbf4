"""How the GuardReasoner family shows an exchange to its guard."""

from typing import Any

from gr_vl.schema import Sample


def transcript(sample: Sample) -> list[dict[str, Any]]:
    """Content parts of the user message: both turns, the images right after the first line, None for no response."""
    images = [{"type": "image"} for _ in sample.images]
    prompt = f"\n{sample.prompt}" if images and sample.prompt else sample.prompt
    response = "None" if sample.response is None else sample.response
    parts = [
        {"type": "text", "text": "Human user:\n"},
        *images,
        {"type": "text", "text": f"{prompt}\n\nAI assistant:\n{response}\n"},
    ]
    return parts if images else [{"type": "text", "text": "".join(part["text"] for part in parts)}]
