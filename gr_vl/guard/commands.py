"""`gr-vl moderate`, `gr-vl serve` and `gr-vl export`. What they need is imported when they run."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from gr_vl import extras
from gr_vl.errors import ConfigError, DataError, StageError

Model = Annotated[Path, typer.Option(help="The folder of a trained guard.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `gr-vl`."""
    app.command(epilog="Example: gr-vl moderate --model runs/demo/rl/model --text 'What is this?' --image sign.png")(
        moderate
    )
    app.command(epilog="Example: gr-vl serve --model runs/demo/rl/model --port 8000")(serve)
    app.command(epilog="Example: gr-vl export runs/demo guard/")(export)


def moderate(
    model: Model,
    text: Annotated[str | None, typer.Option(help="What the user wrote.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="A picture that the user sent; may be repeated.")] = None,
    response: Annotated[str | None, typer.Option(help="What the assistant replied.")] = None,
    source: Annotated[str | None, typer.Option("--input", help="A JSONL file of exchanges, or - for stdin.")] = None,
    image_root: Annotated[Path | None, typer.Option(help="Where the paths of a JSONL file's images begin.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    think: Annotated[bool, typer.Option("--think/--no-think", help="Reason first, or judge at once.")] = True,
    dialect: Annotated[str | None, typer.Option(help="How the guard is spoken to, if its folder does not say.")] = None,
    policy: Annotated[Path | None, typer.Option(help="A file with the rules to judge by, one a line.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Tokens of an answer at most.")] = 1024,
) -> None:
    """Judge one exchange, or a JSONL stream of them. Exit code 1 if a line of the stream could not be judged."""
    single = (text is not None, bool(image), response is not None)
    if (source is not None) == any(single):
        raise ConfigError("gr-vl moderate: nothing to judge; give --text, --image or --response, or else --input FILE")
    from gr_vl.data import images

    pictures = [images.read_named(path) for path in image or ()]
    if source not in (None, "-") and (Path(str(source)).is_dir() or not Path(str(source)).exists()):
        raise DataError(f"--input {source}: no such file or pipe; correct the path")
    rules = None if policy is None else _rules(policy)
    guard = _guard(model, dialect, max_tokens, rules)
    if source is not None:
        _stream(guard, source, think, image_root, rules)
        return
    found = guard.moderate(text or "", pictures, response, think=think, policy=rules)
    typer.echo(json.dumps(found.to_json()) if as_json else _readable(found))


def _guard(model: Path, dialect: str | None, max_tokens: int, rules: str | None) -> Any:
    from gr_vl import dialects, limits, model_files, specs
    from gr_vl.guard.moderation import check_policy

    limits.count("--max-tokens", max_tokens)
    extras.need("gr-vl moderate", "torch", "torchvision", "transformers", extra="serve")
    grammar = dialects.get(specs.find(model_files.check(model), dialect))
    if rules is not None:
        check_policy(grammar)
    _quiet()
    from gr_vl.guard.model import Guard

    return Guard.from_pretrained(model, dialect=dialect, max_tokens=max_tokens)


def _rules(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError) as error:
        raise DataError(f"--policy {path}: no readable UTF-8 text ({type(error).__name__}); correct the path") from None


def _stream(guard: Any, source: str, think: bool, root: Path | None, rules: str | None) -> None:
    from gr_vl.guard.stream import moderate_lines

    bad = total = 0
    with nullcontext(sys.stdin.buffer) if source == "-" else Path(source).open("rb") as file:
        results = moderate_lines(
            file, guard.outcomes, batch_size=guard.batch_size, think=think, image_root=root, policy=rules
        )
        for result in results:
            total += 1
            if "error" in result:
                bad += 1
                typer.echo(f"line {result['line']}: {result['error']}", err=True)
            typer.echo(json.dumps(result))
            sys.stdout.flush()
    if bad:
        raise StageError(f"{bad} of {total} lines could not be judged; each has an error in the output")


def _readable(found: Any) -> str:
    lines = [f"{task:<9} {label:<10} {found.scores[task]:.4f}" for task, label in sorted(found.labels.items())]
    if found.failure is not None:
        lines.append(f"unreadable answer ({found.failure}): counted as harmful")
    return "\n".join([*lines, *([found.reasoning] if found.reasoning else [])])


def serve(
    model: Model,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 8000,
    backend_url: Annotated[str | None, typer.Option(help="OpenAI-compatible server that runs the guard.")] = None,
    backend_model: Annotated[str | None, typer.Option(help="The guard's name there.")] = None,
    api_key_env: Annotated[str, typer.Option(help="Environment variable with the callers' key.")] = "GR_VL_API_KEY",
    image_host: Annotated[list[str] | None, typer.Option(help="Host whose https images are fetched.")] = None,
    max_body_mb: Annotated[float, typer.Option(help="MiB of a request at most.")] = 32.0,
    max_items: Annotated[int, typer.Option(help="Texts of a request at most.")] = 32,
    queue: Annotated[int, typer.Option(help="Exchanges that may wait; over it, 429.")] = 64,
    batch_size: Annotated[int, typer.Option(help="Exchanges answered together at most.")] = 16,
    max_tokens: Annotated[int, typer.Option(help="Tokens of an answer at most.")] = 1024,
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 60.0,
    grace: Annotated[int, typer.Option(help="Seconds for running requests after SIGTERM.")] = 30,
) -> None:
    """Serve /v1/moderations and /v1/chat/completions, with /health and /metrics. SIGTERM finishes what runs."""
    from gr_vl import model_files
    from gr_vl.server.settings import Settings

    given = {name: value for name, value in locals().items() if name in Settings.__dataclass_fields__}
    settings = Settings(**given, image_hosts=tuple(image_host or ()))
    modules = ("fastapi", "uvicorn", "prometheus_client", "openai", "httpx2", "torch", "torchvision", "transformers")
    extras.need("gr-vl serve", *modules, extra="serve")
    model_files.check(model, weights=backend_url is None)
    _quiet()
    from gr_vl.server import run

    run.serve(settings)


def export(
    source: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="The folder of a run or of a model.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write; it must not exist.")],
    stage: Annotated[str, typer.Option(help="Which model of a run: sft, rl, rl_eco.")] = "rl",
    dialect: Annotated[str | None, typer.Option(help="How the guard is spoken to, if its folder does not say.")] = None,
) -> None:
    """Write a model folder that other servers take as it is: the guard's instruction is in its chat template."""
    from gr_vl.release.source import Source

    extras.need("gr-vl export", "torch", "torchvision", "transformers", extra="serve")
    found = Source.find(source, stage, dialect)
    if out.exists():
        raise ConfigError(f"{out}: is there already; name a new folder")
    _quiet()
    from gr_vl.release.write import release

    worst = release(found, out)
    typer.echo(f"{out}: reloaded, same tokens, log-probabilities within {worst:.1e}")


def _quiet() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()
