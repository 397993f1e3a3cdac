"""An export onto the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from textunlearn.errors import UserError

LOGIN = "log in with `hf auth login`, or set HF_TOKEN"


def check_name(repository: str) -> None:
    """UserError for what cannot be the name of a model on the hub; said before an export takes its time."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(f"--push {repository}: {error}") from None
    if not re.fullmatch(r"[^/]+/[^/]+", repository):
        raise UserError(f"--push {repository} is not of the form USER/NAME")


def push(folder: Path, repository: str, *, public: bool = False) -> str:
    """Upload ``folder``, which `export` wrote, to the model ``USER/NAME`` (made if it is not there); its address.

    UserError without a token, without a network, or without the right to write there. Nothing in ``folder`` is changed.
    """
    from huggingface_hub import HfApi, get_token

    check_name(repository)
    if get_token() is None:
        raise UserError(f"nothing was pushed, since there is no token for the hub: {LOGIN}; the export is in {folder}")
    api = HfApi()
    try:
        made = api.create_repo(repository, private=not public, exist_ok=True)
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Unlearned with textunlearn")
    except Exception as error:  # the hub's own, its HTTP client's, the system's
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"the export in {folder} could not be pushed to {repository}: {said}; check the network and your right to write there, "
            f"then run `hf upload {repository} {folder}`"
        ) from error
    return str(made)
