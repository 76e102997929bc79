"""The task of this example: count the words of a text."""

import re
from collections import Counter

from meshq import task


@task
def count_words(name: str, text: str) -> tuple[str, dict[str, int]]:
    """Return the name again, and how often each word occurs."""
    # With ordered=False results come in any order, so that each must say what it is about.
    return name, dict(Counter(re.findall(r"[a-z]+", text.lower())))
