"""
Downloads in LM Studio, polled for the clients that wait for them.

There is one job for each model, however many clients wait, and one task polls it while any does. LM
Studio cannot stop a job, so if a client leaves, only its own wait ends.

`download_sources` interprets names, and `steps` tells clients about a job's progress.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator
from typing import TypeAlias

from msgspec import UnsetType

from ..calls import host
from ..faults import GOING_DOWN, Refusal, UpstreamFailure, afresh
from ..observability.journal import get_logger
from ..settings.schema import DownloadSettings
from ..types import internal
from ..upstream.answers import lacks_route
from ..upstream.client import Upstream
from .catalogue import Catalogue

NOT_FOUND = "pull model manifest: file does not exist"
"""Ollama's text for a model that its registry does not have; its command line looks for it."""
NO_DOWNLOADS = (
    "this LM Studio has no call for downloads: download the model in its window, or update it"
)
MOST_ABANDONED = 64
"""Number of jobs that are remembered although no client waits for them."""
_Key: TypeAlias = tuple[str, str]


class Job:
    """One download. `total` and `completed` are bytes, 0 until LM Studio states them."""

    def __init__(self, wish: internal.DownloadWish) -> None:
        self.wish = wish
        self.id = ""
        self.total = 0
        self.completed = 0
        self.is_done = False
        self.failure: Exception | None = None
        self.waiters = 0
        self.task: asyncio.Task[None] | None = None
        self.updates = 0
        """The number of updates so far; a waiting client passes the last number that it knows."""
        self._updated = asyncio.Event()

    @property
    def digest(self) -> str:
        """A digest for the download, made from the wish because LM Studio states none."""
        text = f"{self.wish.model}@{_or_nothing(self.wish.quantization)}"
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    @property
    def is_over(self) -> bool:
        """Whether there will be no further update."""
        return self.is_done or self.failure is not None

    def notify(self) -> None:
        """Wake all waiting clients with an update."""
        self.updates += 1
        self._updated.set()
        self._updated = asyncio.Event()

    async def wait(self, known: int) -> None:
        """Wait for an update after the known one; return at once if there was one already."""
        while self.updates == known:
            await self._updated.wait()


class Downloads:
    """The downloads of one host that clients asked for."""

    def __init__(
        self, upstream: Upstream, catalogue: Catalogue, settings: DownloadSettings
    ) -> None:
        self._upstream = upstream
        self._catalogue = catalogue
        self._settings = settings
        self._jobs: dict[_Key, Job] = {}
        self._log = get_logger()

    async def follow(self, wish: internal.DownloadWish) -> AsyncGenerator[Job, None]:
        """
        Start a download, or join one, and yield its job after each update and at the end.

        Raises Refusal (a model that LM Studio cannot find or download, a host without downloads),
        and UpstreamFailure if LM Studio is unreachable for too long.
        """
        key = (wish.model, _or_nothing(wish.quantization))
        job = self._jobs.get(key)
        if job is None or job.is_over:
            self._forget_abandoned()
            job = self._jobs[key] = Job(wish)
        job.waiters += 1
        try:
            if job.task is None:
                job.task = asyncio.create_task(self._run(job))
            while True:
                if job.failure is not None:
                    raise afresh(job.failure)
                # Read before the yield: a slow reader must miss neither the end nor a failure.
                known, is_done = job.updates, job.is_done
                if job.id or is_done:
                    yield job
                if is_done:
                    return
                await job.wait(known)
        finally:
            job.waiters -= 1
            if not job.waiters and job.task is not None:
                # The job continues in LM Studio; the next client polls it again.
                job.task.cancel()
                job.task = None
            if job.is_over and self._jobs.get(key) is job:
                del self._jobs[key]

    async def aclose(self) -> None:
        """Stop polling jobs, which continue in LM Studio, and end all waits for them."""
        for job in self._jobs.values():
            job.failure = job.failure or Refusal(503, GOING_DOWN)
            job.notify()
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_abandoned(self) -> None:
        """Forget the oldest jobs without a waiting client, if there are many."""
        idle = [key for key, job in self._jobs.items() if not job.waiters]
        for key in idle[: max(0, len(idle) - MOST_ABANDONED)]:
            del self._jobs[key]

    async def _run(self, job: Job) -> None:
        """Start or resume a job, and poll it until it is over."""
        try:
            await self._poll(job)
        except (Refusal, UpstreamFailure) as failure:
            job.failure = failure
        except Exception as fault:
            self._log.exception("download failed (internal error)", model=job.wish.model)
            job.failure = fault
        finally:
            if job.is_over:
                self._catalogue.invalidate()
            job.notify()

    async def _poll(self, job: Job) -> None:
        moved_at = heard_at = time.monotonic()
        if not job.id:
            self._update(job, await self._start(job))
        while not job.is_over:
            job.notify()
            await asyncio.sleep(self._settings.poll_interval_s)
            before = job.completed
            try:
                state = await self._state(job)
            except UpstreamFailure as failure:
                if time.monotonic() - heard_at > self._settings.away_timeout_s:
                    raise
                self._log.info(
                    "LM Studio is unreachable during a download",
                    model=job.wish.model,
                    fault=failure.fault,
                )
                continue
            heard_at = time.monotonic()
            self._update(job, state)
            if job.completed != before or state.status == "paused":
                moved_at = heard_at
            stall_s = self._settings.stall_timeout_s
            if stall_s is not None and heard_at - moved_at > stall_s:
                raise Refusal(
                    504,
                    f"LM Studio's download of {job.wish.model} made no progress for {stall_s:g} s",
                )

    async def _start(self, job: Job) -> internal.DownloadState:
        try:
            state = await self._upstream.ask(host.download(job.wish))
        except UpstreamFailure as failure:
            if lacks_route(failure, names_thing=True):
                raise Refusal(501, NO_DOWNLOADS) from failure
            if failure.status == 404:
                self._log.info("LM Studio knows no such model to download", model=job.wish.model)
                raise Refusal(500, NOT_FOUND) from failure
            raise
        self._log.info("download started", model=job.wish.model, status=state.status)
        return state

    async def _state(self, job: Job) -> internal.DownloadState:
        try:
            state = await self._upstream.ask(host.download_state(job.id))
        except UpstreamFailure as failure:
            if failure.status != 404:
                raise
            # After a restart, LM Studio has forgotten its jobs, but not the downloaded bytes.
            self._log.info("download restarted", model=job.wish.model)
            return await self._start(job)
        return state

    def _update(self, job: Job, state: internal.DownloadState) -> None:
        job.id = _or_nothing(state.job_id) or job.id
        job.total = _bytes(state.total) or job.total
        job.completed = _bytes(state.completed) or job.completed
        if state.status == "failed":
            words = _or_nothing(state.message) or "LM Studio gave no reason"
            raise Refusal(500, f"the download of {job.wish.model} failed: {words}")
        job.is_done = state.status in ("completed", "already_downloaded")
        if not job.is_done and not job.id:
            raise Refusal(
                502, f"LM Studio did not start the download of {job.wish.model}: {state.status}"
            )


def _or_nothing(text: str | UnsetType) -> str:
    return "" if isinstance(text, UnsetType) else text


def _bytes(number: float | UnsetType) -> int:
    return 0 if isinstance(number, UnsetType) else int(number)
