"""Whether a local folder holds a whole model, by what its files begin with, and what they say. Nothing is loaded.

What is missing would not always be missed: transformers makes an empty tokenizer of a folder without one.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gr_vl.errors import DataError, GuardError

_POINTER = b"version https://git-lfs"
_OBJECTS = (
    *("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", "vocab.json"),
    *("special_tokens_map.json", "added_tokens.json", "chat_template.json", "processor_config.json"),
    *("preprocessor_config.json", "video_preprocessor_config.json"),
)
_OTHERS = ("merges.txt", "tokenizer.model", "chat_template.jinja")
"""With those above, what transformers reads beside the weights, where it is there."""
_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_AGAIN = "fetch it again, as a whole"


def check(folder: Path, *, weights: bool = True) -> Path:
    """The folder itself. Raises DataError that names the file that is missing, empty, cut off or only points elsewhere.

    Without `weights`, only what texts and images are measured with has to be there.
    """
    if not (folder / "config.json").is_file():
        raise DataError(_no_model(folder))
    found = {name: _object(folder / name) for name in _OBJECTS if (folder / name).exists()}
    for name in _OTHERS:
        if (folder / name).exists():
            _begins(folder / name)
    if missing := _missing(folder, found):
        raise DataError(f"{folder}: {missing} is missing; {_AGAIN}")
    if "tokenizer.json" in found and not isinstance(found["tokenizer.json"].get("model"), dict):
        raise DataError(f"{folder / 'tokenizer.json'}: holds no tokenizer ('model' is missing); {_AGAIN}")
    for file in weight_files(folder) if weights else ():
        _dtypes(file)
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The files of the weights. Raises DataError when there are none, or not all."""
    if (folder / _WHOLE).exists():
        return [folder / _WHOLE]
    if (folder / _INDEX).exists():
        listed = _object(folder / _INDEX).get("weight_map")
        if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
            raise DataError(f"{folder / _INDEX}: lists no files ('weight_map'); {_AGAIN}")
        names = sorted(set(listed.values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise DataError(f"{folder}: {missing[0]} is missing, of {len(names)} files that {_INDEX} lists; {_AGAIN}")
        return [folder / name for name in names]
    if any(folder.glob("model-*.safetensors")):
        raise DataError(f"{folder}: {_INDEX} is missing, which says what the other files hold; {_AGAIN}")
    others = sorted(path.name for suffix in ("bin", "pt", "pth", "ckpt", "gguf") for path in folder.glob(f"*.{suffix}"))
    there = f"{others[0]} is not loaded; save the model as safetensors" if others else _AGAIN
    raise DataError(f"{folder}: holds no .safetensors file ({_WHOLE} is missing); {there}")


def stored_dtype(folder: Path) -> str:
    """The type of the weights as stored, which a trainer's config.json need not tell. DataError when it is not one."""
    kinds = set().union(*(_dtypes(file) for file in weight_files(folder)))
    if len(kinds) != 1 or not kinds <= set(_DTYPES):
        words = ", ".join(sorted(kinds)) or "none"
        raise DataError(f"{folder}: weights of type {words}; store all as one of {', '.join(_DTYPES)}")
    return _DTYPES[kinds.pop()]


def positions(folder: Path) -> int | None:
    """Tokens that the model has positions for, by its config; None where that does not say. DataError when broken."""
    config = _object(folder / "config.json")
    text = config.get("text_config")
    texts = [text, config] if isinstance(text, dict) else [config]
    found = [one["max_position_embeddings"] for one in texts if isinstance(one.get("max_position_embeddings"), int)]
    # Stretched to a multiple of the positions that it was first trained on.
    ropes = [one.get(key) for one in texts for key in ("rope_parameters", "rope_scaling")]
    for rope in [rope for rope in ropes if isinstance(rope, dict)]:
        first, factor = rope.get("original_max_position_embeddings"), rope.get("factor")
        if found and isinstance(first, int) and isinstance(factor, int | float):
            found[0] = max(found[0], int(first * factor))
    return found[0] if found else None


@contextmanager
def loading(folder: str | Path) -> Iterator[None]:
    """What libraries raise about the files of a local folder, as a DataError. A hub's failures may pass: they stay."""
    try:
        yield
    except (GuardError, MemoryError):
        raise
    except Exception as error:
        if not Path(folder).is_dir() or "OutOfMemory" in type(error).__name__:
            raise
        words = " ".join(str(error).split())[:200]
        raise DataError(f"{folder}: cannot be loaded ({type(error).__name__}: {words}); {_AGAIN}") from error


def _missing(folder: Path, found: dict[str, dict[str, Any]]) -> str | None:
    """The first file that the tokenizer and, of a model that reads images, its processor lack."""
    if "tokenizer_config.json" not in found:
        return "tokenizer_config.json"
    if "tokenizer.json" not in found and not (folder / "tokenizer.model").is_file():
        if "vocab.json" not in found:
            return "tokenizer.json"
        if not (folder / "merges.txt").is_file():
            return "merges.txt, which belongs to vocab.json,"
    sees = isinstance(found["config.json"].get("vision_config"), dict)
    if sees and "preprocessor_config.json" not in found:
        if "processor_config.json" not in found:
            return "preprocessor_config.json (or processor_config.json)"
        if not isinstance(found["processor_config.json"].get("image_processor"), dict):
            return "preprocessor_config.json, of which processor_config.json holds nothing,"
    return None


def _no_model(folder: Path) -> str:
    if folder.is_file():
        return f"{folder}: no model there, but a file; name the folder that it is in"
    if (folder / "adapter_config.json").is_file():
        return f"{folder}: no model there, but a LoRA adapter alone; merge it into its base model"
    words = f"{folder}: no model there (config.json is missing)"
    inner = [path.parent for depth in (1, 2) for path in sorted(folder.glob("*/" * depth + "config.json"))]
    if inner:
        return f"{words}; name one of the models in it, as in {', '.join(map(str, inner[:4]))}"
    return f"{words}; name a model folder, as in RUN/rl/model, or run the stage that makes it first"


def _begins(file: Path) -> bytes:
    """The first bytes of a file. Raises DataError when it is empty, unreadable, or only Git LFS's pointer to it."""
    try:
        with file.open("rb") as opened:
            head = opened.read(len(_POINTER))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({type(error).__name__}); {_AGAIN}") from None
    if not head:
        raise DataError(f"{file}: is empty; {_AGAIN}")
    if head == _POINTER:
        raise DataError(f"{file}: is a Git LFS pointer, not the file itself; fetch that: git lfs pull")
    return head


def _object(file: Path) -> dict[str, Any]:
    _begins(file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: cut off or damaged (no JSON: {error}); {_AGAIN}") from None
    if not isinstance(content, dict):
        raise DataError(f"{file}: holds {type(content).__name__}, not an object; {_AGAIN}")
    return content


def _dtypes(file: Path) -> set[str]:
    """The types of the weights in a file. Raises DataError when it is not whole: its head says how long it is."""
    from safetensors import SafetensorError, safe_open

    _begins(file)
    try:
        with safe_open(file, framework="numpy") as opened:
            return {opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file}: cut off or damaged ({error}); {_AGAIN}") from None
