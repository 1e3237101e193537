"""
The check that the model which answers is the requested one.

All routes share this check. The setting `answers.wrong_model` decides about a wrong model, and the
caller sends the error or the warning.
"""

from __future__ import annotations

from ..catalogue.catalogue import Catalogue
from ..faults import UpstreamFailure
from ..observability.journal import get_logger
from ..settings.schema import Settings
from ..types import internal

_MOST_UNKNOWN = 256
"""Number of unknown ids that are stored, in case a host uses a new id for each answer."""


class ModelCheck:
    """
    Compares the model that an answer names with the requested one.

    LM Studio lets the one loaded model answer for any name
    (docs/facts/lmstudio.md#substituted-model). Only an id that is known to be another model's is
    wrong; instances and aliases are not. An unknown id is accepted, and the catalogue is
    refreshed, once for each id.
    """

    def __init__(self, settings: Settings) -> None:
        self._is_error = settings.answers.wrong_model == "error"
        self._log = get_logger()
        self._unknown: set[str] = set()

    def warning(self, row: internal.CatalogueRow, named: str, catalogue: Catalogue) -> str | None:
        """
        Return a warning for the client, None if the right model of the host's catalogue answers.

        Raises UpstreamFailure (`wrong_model`) if the settings make it an error.
        """
        if named in (row.key, row.request_key):
            return None
        answering = catalogue.key_for(named)
        if answering == row.key:
            return None
        if answering is None:
            self._note_unknown(row, named, catalogue)
            return None
        text = f"asked for {row.key}, answered by {named}"
        if self._is_error:
            raise UpstreamFailure(text, fault="wrong_model")
        self._log.warning("another model answered", asked=row.key, answered=named)
        return text

    def _note_unknown(self, row: internal.CatalogueRow, named: str, catalogue: Catalogue) -> None:
        if named in self._unknown:
            return
        if len(self._unknown) < _MOST_UNKNOWN:
            self._unknown.add(named)
            catalogue.invalidate()
            self._log.info("unknown model in an answer", asked=row.key, answered=named)
