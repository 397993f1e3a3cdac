"""A run's result as GGUF files for llama.cpp, by llama.cpp's own converter out of the user's checkout of it.

The converter is no package: it comes with llama.cpp and changes with it, and knows which architectures that version runs.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from textunlearn.errors import UserError
from textunlearn.vlm.export import export_merged, fresh

CONVERTER = "convert_hf_to_gguf.py"
TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
"""What the converter calls our precisions."""
GET = "git clone --depth 1 https://github.com/ggml-org/llama.cpp"


def export_gguf(
    run: Path, folder: Path, llama_cpp: Path | None, licence: str = "", dtype: str = "float16"
) -> tuple[Path, str]:
    """Write ``NAME.gguf`` and a model card into ``folder`` (new or empty), for models with pictures or sound ``mmproj-NAME.gguf`` too.

    Args:
        llama_cpp: a checkout of llama.cpp.
        dtype: precision of the files; smaller ones are made from them by llama.cpp's ``llama-quantize``.

    Returns the folder, and what the converter said against a projector; "" where there is one, or none is needed.

    UserError if there is no converter, or it does not know the architecture.
    """
    converter = _converter(llama_cpp)
    said = ""
    with fresh(folder) as partial:
        # Merged in full, since the converter rounds by itself. The folder's name is what the converter calls the model.
        merged = export_merged(run, partial / "merged" / folder.resolve().name, licence)
        name = f"{folder.resolve().name}.gguf"
        if problem := _convert(converter, merged, partial / name, dtype):
            raise UserError(f"llama.cpp's converter cannot write this model as GGUF ({problem}); try a newer llama.cpp")
        if _has_tower(merged):
            projector = partial / f"mmproj-{name}"
            said = _convert(converter, merged, projector, dtype, "--mmproj")
            if said:
                projector.unlink(missing_ok=True)
        _card(merged, partial, name, said)
        _remove(partial / "merged")
    return folder, said


def _converter(llama_cpp: Path | None) -> Path:
    if llama_cpp is None:
        raise UserError(
            f"GGUF is written by llama.cpp's own converter: get it (`{GET}`) and name the folder with --llama-cpp"
        )
    script = llama_cpp / CONVERTER
    if not script.is_file():
        raise UserError(f"{llama_cpp} holds no {CONVERTER}; name a checkout of llama.cpp with --llama-cpp (`{GET}`)")
    return script.resolve()


def _convert(converter: Path, model: Path, out: Path, dtype: str, *more: str) -> str:
    """Run the converter; "" if ``out`` was written, or else the last it said."""
    command = [
        sys.executable,
        str(converter),
        str(model.resolve()),
        "--outfile",
        str(out.resolve()),
        "--outtype",
        TYPES[dtype],
        *more,
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0 and _readable(out):
        return ""
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("ERROR")] or lines
    return told[-1][:300] if told else f"it ended with code {done.returncode} and said nothing"


def _readable(file: Path) -> bool:
    """Whether there is a GGUF file with tensors in it."""
    from gguf import GGUFReader

    try:
        return len(GGUFReader(file).tensors) > 0
    except (OSError, ValueError, IndexError, KeyError):
        return False


def _has_tower(model: Path) -> bool:
    from textunlearn.files import read_json

    return any(name in read_json(model / "config.json") for name in ("vision_config", "audio_config"))


def _card(merged: Path, folder: Path, name: str, missing: str) -> None:
    """The merged model's card, with how to run the files in place of how to load that."""
    from textunlearn.files import write_text

    card = (
        (merged / "README.md")
        .read_text(encoding="utf-8")
        .replace("library_name: transformers", "library_name: gguf", 1)
    )
    before, heading, after = card.partition("## How to load it\n")
    _, _, rest = after.partition("```python\n")[2].partition("```\n")
    pictures = f" --mmproj mmproj-{name}" if (folder / f"mmproj-{name}").exists() else ""
    lines = f"\n```\nllama-server -m {name}{pictures}\n```\n"
    if missing:
        lines += "\nWithout pictures and sound: llama.cpp's converter has no projector for this architecture.\n"
    write_text(folder / "README.md", before + heading.replace("load", "run") + lines + rest)


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)
