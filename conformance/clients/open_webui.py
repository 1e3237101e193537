"""
Open WebUI as a process: started with a gateway as its only server of models, and stopped again.

`python -m conformance.clients.open_webui PORT` is that process. What is asked of it is the drivers'
business; all this runs in the environment of `python/open_webui.txt`.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from conformance.clients.scenarios import CONNECTION

START_LIMIT_S = 300.0
"""One that can't start ends, which is seen at once. A busy machine takes minutes to import it."""
STOP_LIMIT_S = 10.0
SETTINGS = {
    # The variant without models of its own, which needs a third of the packages.
    "USE_SLIM_DOCKER": "True",
    "WEBUI_AUTH": "False",
    "WEBUI_SECRET_KEY": "not a secret",
    "ENABLE_OPENAI_API": "False",
    # Open WebUI downloads nothing and sends no telemetry.
    "OFFLINE_MODE": "True",
    "HF_HUB_OFFLINE": "1",
    "ENABLE_VERSION_UPDATE_CHECK": "False",
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "true",
    "SCARF_NO_ANALYTICS": "true",
    # Questions of its own about a chat, which repeat the user's question.
    "ENABLE_TITLE_GENERATION": "False",
    "ENABLE_TAGS_GENERATION": "False",
    "ENABLE_FOLLOW_UP_GENERATION": "False",
}


@contextlib.contextmanager
def serving(gateway_url: str, python: str | Path = sys.executable) -> Iterator[str]:
    """
    Start Open WebUI in front of a gateway, with new data that are not kept; yield its URL.

    `python` is the Python of an environment that has it.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        port = find_port()
        url = f"http://127.0.0.1:{port}"
        log = Path(folder, "log")
        with (
            log.open("wb") as said,
            subprocess.Popen(
                [python, "-m", __name__, str(port)],
                env={
                    **os.environ,
                    **SETTINGS,
                    "OLLAMA_BASE_URL": gateway_url,
                    "DATA_DIR": folder,
                    # Files are copied there at each start, which must not change the environment.
                    "STATIC_DIR": f"{folder}/static",
                },
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
            ) as process,
        ):
            try:
                wait_until_healthy(url, process, log)
                yield url
            finally:
                process.terminate()
                try:
                    process.wait(STOP_LIMIT_S)
                except subprocess.TimeoutExpired:
                    process.kill()


def find_port() -> int:
    """Return a port that is free; Open WebUI does not say which one it took."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def wait_until_healthy(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Ask until it answers; raise RuntimeError with the end of its log when it will not."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", **CONNECTION).is_success:
                return
        time.sleep(0.2)
    late = f"did not answer within {START_LIMIT_S:.0f} s"
    state = late if process.returncode is None else f"ended with {process.returncode}"
    said = log.read_text("utf-8", "replace")[-3000:]
    raise RuntimeError(f"Open WebUI {state}, it said:\n{said}")


def sign_in(url: str) -> str:
    """Return the token of the one user that there is without authentication."""
    answer = httpx.post(
        f"{url}/api/v1/auths/signin", json={"email": "", "password": ""}, **CONNECTION
    )
    token: str = answer.raise_for_status().json()["token"]
    return token


def connect(url: str) -> httpx.Client:
    """Return a client of Open WebUI's own API."""
    return httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {sign_in(url)}"}, **CONNECTION
    )


def listed(model: str) -> str:
    """Return the name by which Open WebUI knows a model: as it is listed, tag included."""
    return f"{model}:latest"


def main() -> None:
    """Serve until stopped, or until the driver that started this is gone."""
    threading.Thread(target=leave_with_driver, daemon=True).start()
    import open_webui

    open_webui.serve(host="127.0.0.1", port=int(sys.argv[1]))


def leave_with_driver() -> None:
    """Wait for the end of standard input: a driver that is killed can't stop anything."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
