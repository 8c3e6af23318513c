"""`find_shared`: which prefixes running rows read from one place."""

from __future__ import annotations

from collections import abc

from langchain_vipllava.engine.prefix_cache import PrefixCache, common_length
from langchain_vipllava.engine.sequence import Sequence
from langchain_vipllava.engine.shared_prefix import MIN_SHARED_TOKENS, SharedPrefix, worth_sharing


def find_shared(
    sequences: abc.Sequence[Sequence], prefix_cache: PrefixCache, held: abc.Mapping[Sequence, int]
) -> dict[Sequence, list[SharedPrefix]]:
    """Find the cached prefixes that each sequence shares with any other one.

    Args:
        sequences: that run together.
        prefix_cache: where their prefixes are. It is split where prompts part.
        held: how many tokens each of them reads from shared prefixes already.

    Returns:
        The prefixes of each sequence, in the order of its tokens, at least one token less than it has.
    """
    keys = {sequence: sequence.key for sequence in sequences}
    most = {}
    for one, key in keys.items():
        shared = max((common_length(key, keys[other]) for other in sequences if other is not one), default=0)
        # what a row shared with others that are gone is in no column: it needs all parts of what is split
        most[one] = min(max(shared, held.get(one, 0)), one.length - 1)
    for sequence, tokens in most.items():
        if tokens >= MIN_SHARED_TOKENS:
            prefix_cache.share(keys[sequence], tokens)
    return {  # only now, as a later sequence may have split what an earlier one found
        sequence: worth_sharing(prefix_cache.share(keys[sequence], tokens), held.get(sequence, 0))
        for sequence, tokens in most.items()
    }
