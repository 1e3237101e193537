"""
Whether the model that answers is the one that was asked.

One check for every way in; what becomes of a wrong one is the setting `answers.wrong_model`, and
how it is told is its caller's business.
"""

from __future__ import annotations

from gateway.catalogue.catalogue import Catalogue
from gateway.faults import UpstreamFailure
from gateway.observability.journal import get_logger
from gateway.settings.schema import Settings
from gateway.types import internal

_MOST_UNKNOWN = 256
"""So many unknown ids are remembered; a host that makes up one per answer must not fill memory."""


class ModelCheck:
    """
    Compares the model that an answer names with the one asked for.

    LM Studio lets the one loaded model answer for any name
    (docs/facts/lmstudio.md#substituted-model). Only an id that is known to be another model's is
    wrong; instances and aliases are not. An id that nobody knows is accepted and counted, and the
    catalogue is fetched anew at the next look, once for each.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._is_error = settings.answers.wrong_model == "error"
        self._catalogue = catalogue
        self._log = get_logger()
        self._unknown: set[str] = set()
        self.unknown_answers = 0
        """How many answers named a model that is in no list."""

    def warning(self, row: internal.CatalogueRow, named: str) -> str | None:
        """
        Return what to warn the client of, None when the right model answers.

        Raises UpstreamFailure (`wrong_model`) where that is an error.
        """
        if named in (row.key, row.request_key):
            return None
        behind = self._catalogue.key_behind(named)
        if behind == row.key:
            return None
        if behind is None:
            self._note_unknown(row, named)
            return None
        text = f"asked for {row.key}, answered by {named}"
        if self._is_error:
            raise UpstreamFailure(text, fault="wrong_model")
        self._log.warning("another model answered", asked=row.key, answered=named)
        return text

    def _note_unknown(self, row: internal.CatalogueRow, named: str) -> None:
        self.unknown_answers += 1
        if named in self._unknown:
            return
        if len(self._unknown) < _MOST_UNKNOWN:
            self._unknown.add(named)
            self._catalogue.invalidate()
            self._log.info("an answer names an unknown model", asked=row.key, answered=named)
