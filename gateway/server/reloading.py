"""
The reload of settings: by SIGHUP, and by `POST /reload` from this machine.

`settings.live` replaces the settings. This module says who may ask for it, and logs what happened.
"""

from __future__ import annotations

from collections.abc import Callable

from ..access.keyring import Keyring
from ..observability.journal import get_logger
from ..settings.live import Change, LiveSettings
from ..settings.schema import Settings
from ..settings.sources import SettingsProblem
from ..wire.writing import encode, encode_error
from .addresses import is_loopback
from .asgi import Scope, header
from .keys import shown_keys


class Reloads:
    """Reloads the settings, whoever asks for it."""

    def __init__(self, live: LiveSettings, tell_others: Callable[[], None] | None = None) -> None:
        """Reload `live`; `tell_others` has all other processes on the port reload, too."""
        self._live = live
        self._tell_others = tell_others
        self._log = get_logger()

    def reload(self) -> None:
        """Reload; a problem is logged, and changes nothing."""
        try:
            self._use(self._live.reread())
        except SettingsProblem as problem:
            self._note_problem(problem)

    def answer(self, scope: Scope) -> tuple[int, bytes]:
        """
        Reload for a client, and return the status and the body of the answer.

        Only a client on this machine may ask, and no web page. If keys are set, it must show one of
        those in force or of those that are to be: it can read the settings then.
        """
        address, *_ = scope.get("client") or ("",)
        if not is_loopback(address) or header(scope, b"origin"):
            return 403, encode_error("settings are reloaded for callers on this machine only")
        wanted: Settings | None = None
        problem: SettingsProblem | None = None
        try:
            wanted = self._live.reread()
        except SettingsProblem as found:
            problem = found.with_traceback(None)
        keys = [Keyring(self._live.current)]
        if wanted is not None:
            keys.append(Keyring(wanted))
        shown = shown_keys(scope, scope["path"])
        if not any(each.is_empty or each.may_reload(shown) for each in keys):
            if any(each.owner_of(one) is not None for each in keys for one in shown):
                return 403, encode_error("this key may not change the gateway (keys.NAME.admin)")
            return 401, encode_error(
                "a reload needs one of the gateway's keys, in the header `Authorization: Bearer "
                "KEY`"
            )
        try:
            if wanted is not None:
                change = self._use(wanted)
                if self._tell_others is not None:
                    self._tell_others()
                return 200, encode(
                    {"changed": change.changed, "needs_restart": change.needs_restart}
                )
        except SettingsProblem as found:
            problem = found.with_traceback(None)
        assert problem is not None
        self._note_problem(problem)
        return 422, encode_error(f"nothing was changed: {problem}")

    def _use(self, wanted: Settings) -> Change:
        change = self._live.use(wanted)
        self._log.info(
            "settings reloaded",
            changed=",".join(change.changed) or None,
            needs_restart=",".join(change.needs_restart) or None,
        )
        return change

    def _note_problem(self, problem: SettingsProblem) -> None:
        self._log.error("settings not reloaded; nothing was changed", reason=str(problem))
