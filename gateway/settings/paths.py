"""
The names of settings: their paths (`section.key`), and the variables and flags that set them.
"""

from __future__ import annotations

from typing import get_args, get_origin, get_type_hints

import msgspec

from .schema import HostSettings, KeySettings, Settings, UpstreamSettings

_HINTS_OF_SECTIONS = {
    name: hint
    for name, hint in get_type_hints(Settings).items()
    if name in Settings.__struct_fields__
}
SECTION_NAMES = tuple(_HINTS_OF_SECTIONS)
HOSTS = "hosts"
"""The section of tables with names of the user's own, in the file only."""
KEYS = "keys"
"""The section of tables of access keys, likewise."""
TABLES = (HOSTS, KEYS)
MAPS = tuple(
    name
    for name, hint in _HINTS_OF_SECTIONS.items()
    if get_origin(hint) is dict and get_args(hint)[1] is str
)
"""Free-form sections: maps of text to text with the user's own keys, in the file only."""
SECTIONS: dict[str, type[msgspec.Struct]] = {
    name: kind for name, kind in _HINTS_OF_SECTIONS.items() if name not in (*MAPS, *TABLES)
}
HINTS: dict[str, object] = {
    f"{section}.{key}": hint
    for section, kind in SECTIONS.items()
    for key, hint in get_type_hints(kind, include_extras=True).items()
    if key in kind.__struct_fields__
}
"""The type of each setting, by its path."""
OF_ANY_HOST = f"{HOSTS}.NAME."
"""What stands before the key of a host's setting where no host is meant."""
HOST_HINTS: dict[str, object] = {
    f"{OF_ANY_HOST}{key}": hint
    for key, hint in get_type_hints(HostSettings, include_extras=True).items()
    if key in HostSettings.__struct_fields__
}
"""The type of each setting of a host, by its path with NAME in place of the host's name."""
OF_ANY_KEY = f"{KEYS}.NAME."
"""What stands before the key of an access key's setting where no access key is meant."""
KEY_HINTS: dict[str, object] = {
    f"{OF_ANY_KEY}{key}": hint
    for key, hint in get_type_hints(KeySettings, include_extras=True).items()
    if key in KeySettings.__struct_fields__
}
"""The type of each setting of an access key, likewise."""
OF_UPSTREAM = tuple(UpstreamSettings.__struct_fields__)
"""The keys that every host takes from `[upstream]` when its own table has none."""
MORE = "listen.more"
"""The setting whose value is tables, so that no variable has it."""
VARIABLES = {f"OLGATE_{path.replace('.', '_').upper()}": path for path in HINTS if path != MORE}
"""The gateway's own variables, and the setting of each."""
CONFIG_VARIABLE = "OLGATE_CONFIG"
"""The variable that names the settings file."""
FLAGS = {
    "listen.host": "--host",
    "listen.port": "--port",
    "upstream.url": "--upstream",
    "log.level": "--log-level",
}
BORROWED: dict[str, tuple[str, ...]] = {
    "OLLAMA_HOST": ("listen.host", "listen.port"),
    "OLLAMA_DEBUG": ("log.level",),
    "OLLAMA_ORIGINS": ("listen.origins",),
    "OLLAMA_KEEP_ALIVE": ("models.keep_alive",),
    "OLLAMA_CONTEXT_LENGTH": ("models.context_length",),
    "OLLAMA_LOAD_TIMEOUT": ("models.load_timeout_s",),
    "OLLAMA_MAX_QUEUE": ("models.max_queue", "queue.most"),
    "OLLAMA_MAX_LOADED_MODELS": ("models.max_loaded",),
    "LMSTUDIO_URL": ("upstream.url",),
    "LM_API_TOKEN": ("upstream.token",),
}
"""Ollama's and LM Studio's own variables, and the settings that each sets."""


def split_path(path: str) -> tuple[str, str]:
    """
    Return the table and the key of a setting's path.

    >>> split_path("listen.port"), split_path("hosts.studio.local.url")
    (('listen', 'port'), ('hosts.studio.local', 'url'))
    """
    section, _, key = path.partition(".")
    if section in TABLES:
        section, _, key = path.rpartition(".")
    return section, key
