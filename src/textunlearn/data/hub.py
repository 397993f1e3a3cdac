"""Data sets from the Hugging Face hub, as the folders their publishers put there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textunlearn.errors import UserError


def snapshot(name: str, files: Sequence[str]) -> Path:
    """The folder with those files of the data set ``name`` that match the patterns; fetched once, then from the hub's own cache.

    UserError without a network, for a set that is not there, or one whose terms were not accepted.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UserError("the package huggingface_hub is missing; run `pip install huggingface_hub`") from None
    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=list(files) or None))
    except Exception as error:  # the library raises many kinds: no network, no such set, a gated one
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(said[0].rstrip(".")) from error
