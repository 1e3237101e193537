"""
What to do about a host that cannot be used, with the settings of that host by their names.
"""

from __future__ import annotations

from ..faults import UpstreamFailure
from ..settings.host_keys import HostKeys

RESTART_IT = "restart LM Studio's server"
GET_A_MODEL = "download one in LM Studio, or with `ollama pull`"


def start_it(keys: HostKeys) -> str:
    """Return the advice for an address at which nothing answers."""
    return (
        "start LM Studio's server (`lms server start`, or in its Developer tab), or set "
        f"{keys.address} to where it runs"
    )


def set_token(keys: HostKeys) -> str:
    """Return the advice for a host that wants a token and got none."""
    return f"set {keys.token} to an API token of LM Studio"


def renew_token(keys: HostKeys) -> str:
    """Return the advice for a host that refuses the token."""
    return f"set {keys.token} to a token that is valid in LM Studio"


def advise(failure: UpstreamFailure, keys: HostKeys, *, has_token: bool) -> str:
    """Return the next step after a failure to list a host's models, empty if its text has one."""
    if failure.status in (401, 403):
        return renew_token(keys) if has_token else set_token(keys)
    match failure.fault:
        case "connect":
            return start_it(keys)
        case "dns":
            return f"check the host name in {keys.address}"
        case "tls":
            return f"check http and https in {keys.key('url')}: LM Studio itself speaks http"
        case "wrong_server":
            return ""
        case _:
            return RESTART_IT
