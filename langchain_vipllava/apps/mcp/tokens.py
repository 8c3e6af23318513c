"""The tokens of clients, from the environment or a file."""

from __future__ import annotations

from pathlib import Path

from langchain_vipllava.errors import VipLlavaError, describe_error, shorten

_MAX_BYTES = 2**20
"""Of a file of tokens. Chosen: some ten thousand of them."""


def read_tokens(token: str | None, file: Path | None) -> dict[str, str]:
    """Return the token of each client.

    Args:
        token: of the only client, which is then called "client".
        file: a client and its token on each line; lines that begin with # are left out.

    Raises:
        VipLlavaError: both, or a file that is none of tokens. What is in it is not repeated.
    """
    if file is None:
        return {} if not token else {"client": token}
    if token:
        raise VipLlavaError("VIPLLAVA_MCP_TOKEN beside --tokens; expected one of them.")
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_BYTES + 1).decode()
    except (OSError, ValueError) as error:
        raise VipLlavaError(f"cannot read the tokens in {shorten(str(file))}: {describe_error(error)}.") from error
    tokens: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or words[0] in tokens:
            raise VipLlavaError(
                f"{shorten(str(file))}, line {number}: expected the name of one more client, a space and its token."
            )
        tokens[words[0]] = words[1]
    if not tokens or len(text) > _MAX_BYTES:
        raise VipLlavaError(f"{shorten(str(file))} has no tokens, or too many; expected a name and a token per line.")
    return tokens
