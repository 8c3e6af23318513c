"""Asks the hub which commit a checkpoint is at: once, within seconds, where the hub's own client retries for 29."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import Any

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers.utils.hub import cached_file, extract_commit_hash

from langchain_vipllava.errors import CheckpointError, describe_error
from langchain_vipllava.protocol.load_options import LoadOptions

_ANSWER_SECONDS = 5.0
"""Seconds for the hub to answer. Chosen: it usually takes less than one, and a person waits for it."""

_LOOKUP_SECONDS = 8.0
"""Seconds for all of it; looking up a host's address has no time limit of its own."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


class _AwayError(Exception):
    """The hub does not answer, or must not be asked; the text says which."""


def pin_to_commit(options: LoadOptions) -> LoadOptions:
    """Replace the revision of a hub id by the commit that it names now.

    Without the hub, the copy in the cache decides; the options that come back then keep everything after this from
    asking the hub.

    Raises:
        CheckpointError: the hub has no such model, or it is away and there is no copy.
    """
    cached = _cached_commit(options)
    if cached is not None and (options.local_files_only or _COMMIT.fullmatch(options.revision or "")):
        return replace(options, revision=cached)
    reason = "local_files_only=True, and no copy is in the cache"
    if not options.local_files_only:
        try:
            _ask(options)
            return replace(options, revision=_fetch_commit(options))
        except _AwayError as error:
            reason = f"{error}, and no copy is in the cache"
    if cached is not None:
        return replace(options, revision=cached, local_files_only=True)
    raise CheckpointError(
        f"cannot find the checkpoint {options.model!r}: {reason}. Expected a folder or a hub id such as "
        "'llava-hf/vip-llava-7b-hf'. Without network, download it first, or use model='bundled'. If the hub is away, "
        "the next call tries again; local_files_only=True does not ask it."
    )


def _cached_commit(options: LoadOptions) -> str | None:
    try:
        path = cached_file(options.source, "config.json", revision=options.revision or "main", local_files_only=True)
    except Exception:  # not cached, and no name of a model: the hub's answer says which
        return None
    return extract_commit_hash(path, None) or options.revision


def _fetch_commit(options: LoadOptions) -> str | None:
    """Fetch the config from a hub that answers, so that the cache knows the branch when the hub is away later."""
    try:
        path = cached_file(options.source, "config.json", revision=options.revision or "main")
    except Exception as error:
        raise _AwayError(
            f"the hub at {constants.ENDPOINT} has no config.json of it ({describe_error(error)})"
        ) from error
    return extract_commit_hash(path, None) or options.revision


def _ask(options: LoadOptions) -> None:
    """Ask the hub whether there is such a model, in a thread: nothing bounds how long a name server takes.

    Raises:
        CheckpointError: there is none.
        _AwayError: the hub does not answer.
    """
    found: list[Any] = []
    thread = threading.Thread(target=_look_up, args=(options, found), name="vipllava-hub", daemon=True)
    thread.start()
    thread.join(_LOOKUP_SECONDS)
    if not found:
        raise _AwayError(f"the hub did not answer within {_LOOKUP_SECONDS:.0f} seconds")
    outcome = found[0]
    if not isinstance(outcome, BaseException):
        return
    known = f"cannot find the checkpoint {options.model!r}: "
    if isinstance(outcome, HFValidationError):
        raise CheckpointError(
            f"{known}there is no such folder, and it is not an id of the hub. Expected a folder, or an id such as "
            "'llava-hf/vip-llava-7b-hf'."
        ) from outcome
    if isinstance(outcome, RevisionNotFoundError):
        raise CheckpointError(f"{known}it has no revision {options.revision!r} on the hub.") from outcome
    if isinstance(outcome, GatedRepoError):
        raise CheckpointError(f"{known}its owner has to grant access; then log in: hf auth login.") from outcome
    status = getattr(getattr(outcome, "response", None), "status_code", None)
    if isinstance(outcome, RepositoryNotFoundError) or status in (401, 403, 404):
        raise CheckpointError(
            f"{known}the hub has no such model, or it is private. Check the spelling, such as "
            "'llava-hf/vip-llava-7b-hf', or log in: hf auth login."
        ) from outcome
    if isinstance(outcome, OfflineModeIsEnabled):
        raise _AwayError("HF_HUB_OFFLINE is set")
    raise _AwayError(f"the hub at {constants.ENDPOINT} is away ({describe_error(outcome)})")


def _look_up(options: LoadOptions, found: list[Any]) -> None:
    try:
        api = HfApi()
        found.append(api.model_info(options.source, revision=options.revision, timeout=_ANSWER_SECONDS).sha)
    except BaseException as error:
        found.append(error)
