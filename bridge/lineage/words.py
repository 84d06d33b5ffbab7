"""The words by which a run is found: made here and nowhere else, so that both databases index the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from bridge.domain.lineage import Run
from bridge.domain.redaction import redact_named
from bridge.lineage.columns import clean_text

# Runs of letters and digits; what stands between them only separates.
_WORD = re.compile(r"[^\W_]+")
_LONGEST_WORD = 64
_MOST_WORDS = 200
_LONGEST_MESSAGE = 2000


def words_in(text: str) -> Iterator[str]:
    """The words of a text, in lower case, each cut to 64 characters."""
    # Marks are separators to one of the databases: without them é and e are one letter in both.
    plain = unicodedata.normalize("NFKD", clean_text(text)).casefold()
    plain = (
        "".join(sign for sign in plain if not unicodedata.combining(sign)) if not plain.isascii() else plain
    )
    for match in _WORD.finditer(plain):
        yield match.group()[:_LONGEST_WORD]


def words_of(run: Run) -> str:
    """What a search finds the run by: the words of its names, of who asked for it, of its labels and of its
    error, each once, with a space before each."""
    origin = run.origin
    texts = [run.display_name, run.pipeline.name, run.pipeline.version_name, run.experiment]
    texts += [origin.dag_id, origin.task_id, origin.team, origin.user]
    texts += [str(part) for label in redact_named(run.labels).items() for part in label]
    if run.error is not None:
        texts += [run.error.task, run.error.code, run.error.message[:_LONGEST_MESSAGE]]
    found = dict.fromkeys(word for text in texts if text for word in words_in(text))
    return "".join(f" {word}" for word in list(found)[:_MOST_WORDS])


def is_whole(word: str) -> bool:
    """Whether a searched word means the whole word and not its beginning: numbers do."""
    return word.isdecimal()
