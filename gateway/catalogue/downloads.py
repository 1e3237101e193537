"""
Downloads in LM Studio, followed for the clients that wait for them.

One job per model however many wait, asked after by one task while anyone does. LM Studio has no way
to stop a job, so a client that leaves stops nothing but its own waiting.

May live here: the jobs and their waiters. Not here: what a name means (`wanted`), and what a client
is told of a job (`steps`).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator
from typing import TypeAlias

from msgspec import UnsetType

from gateway.calls import host
from gateway.catalogue.catalogue import Catalogue
from gateway.faults import GOING_DOWN, Refusal, UpstreamFailure
from gateway.observability.journal import get_logger
from gateway.settings.schema import DownloadSettings
from gateway.types import internal
from gateway.upstream.answers import lacks_route
from gateway.upstream.client import Upstream

NOT_FOUND = "pull model manifest: file does not exist"
"""Ollama's words for a model that its registry lacks; its command line looks for them."""
NO_DOWNLOADS = (
    "this LM Studio can't be told to download: get the model in its window, or update LM Studio"
)
MOST_ABANDONED = 64
"""How many jobs are remembered that nobody waits for any more."""
_Key: TypeAlias = tuple[str, str]


class Job:
    """One download. `total` and `completed` are bytes, 0 while LM Studio has not said."""

    def __init__(self, wish: internal.DownloadWish) -> None:
        self.wish = wish
        self.id = ""
        self.total = 0
        self.completed = 0
        self.is_done = False
        self.failure: Exception | None = None
        self.waiters = 0
        self.task: asyncio.Task[None] | None = None
        self.told = 0
        """How often there was news; who waits says which was the last that it knows."""
        self._news = asyncio.Event()

    @property
    def digest(self) -> str:
        """A digest to know the download by; LM Studio states none, so it is one of the wish."""
        text = f"{self.wish.model}@{_or_nothing(self.wish.quantization)}"
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.is_done or self.failure is not None

    def tell(self) -> None:
        """Have news for everyone who waits."""
        self.told += 1
        self._news.set()
        self._news = asyncio.Event()

    async def news(self, known: int) -> None:
        """Wait for news after the one that is known; what came meanwhile is news at once."""
        while self.told == known:
            await self._news.wait()


class Downloads:
    """The downloads of one host that somebody here asked for."""

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
        Have a model downloaded and yield its job each time that there is news, the end included.

        Raises Refusal (a model that LM Studio can't find or get, a host without downloads), and
        UpstreamFailure when LM Studio is away for too long.
        """
        key = (wish.model, _or_nothing(wish.quantization))
        job = self._jobs.get(key)
        if job is None or job.is_over:
            self._forget_abandoned()
            job = self._jobs[key] = Job(wish)
        job.waiters += 1
        try:
            if job.task is None:
                job.task = asyncio.create_task(self._attend(job))
            while True:
                if job.failure is not None:
                    raise job.failure
                # Taken before the yield: a slow reader must miss neither the end nor a failure.
                known, is_done = job.told, job.is_done
                if job.id or is_done:
                    yield job
                if is_done:
                    return
                await job.news(known)
        finally:
            job.waiters -= 1
            if not job.waiters and job.task is not None:
                # The job goes on in LM Studio; whoever comes next asks after it again.
                job.task.cancel()
                job.task = None
            if job.is_over and self._jobs.get(key) is job:
                del self._jobs[key]

    async def aclose(self) -> None:
        """Stop asking after jobs, which go on in LM Studio, and end all waiting for them."""
        for job in self._jobs.values():
            job.failure = job.failure or Refusal(503, GOING_DOWN)
            job.tell()
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_abandoned(self) -> None:
        """Forget the oldest jobs that nobody waits for, when there are many."""
        idle = [key for key, job in self._jobs.items() if not job.waiters]
        for key in idle[: max(0, len(idle) - MOST_ABANDONED)]:
            del self._jobs[key]

    async def _attend(self, job: Job) -> None:
        """Begin a job or take it up again, and ask after it until it is over."""
        try:
            await self._see_through(job)
        except (Refusal, UpstreamFailure) as failure:
            job.failure = failure
        except Exception as fault:
            self._log.exception("a download failed by a fault of ours", model=job.wish.model)
            job.failure = fault
        finally:
            if job.is_over:
                self._catalogue.invalidate()
            job.tell()

    async def _see_through(self, job: Job) -> None:
        moved_at = heard_at = time.monotonic()
        if not job.id:
            self._take(job, await self._begin(job))
        while not job.is_over:
            job.tell()
            await asyncio.sleep(self._settings.poll_interval_s)
            before = job.completed
            try:
                state = await self._state(job)
            except UpstreamFailure as failure:
                if time.monotonic() - heard_at > self._settings.away_timeout_s:
                    raise
                self._log.info("a download's host is away", model=job.wish.model, why=failure.fault)
                continue
            heard_at = time.monotonic()
            self._take(job, state)
            if job.completed != before or state.status == "paused":
                moved_at = heard_at
            stall_s = self._settings.stall_timeout_s
            if stall_s is not None and heard_at - moved_at > stall_s:
                raise Refusal(
                    504,
                    f"LM Studio's download of {job.wish.model} has stood still for {stall_s:g} s",
                )

    async def _begin(self, job: Job) -> internal.DownloadState:
        try:
            state = await self._upstream.ask(host.download(job.wish))
        except UpstreamFailure as failure:
            if lacks_route(failure, names_thing=True):
                raise Refusal(501, NO_DOWNLOADS) from failure
            if failure.status == 404:
                self._log.info("LM Studio has no such model to download", model=job.wish.model)
                raise Refusal(500, NOT_FOUND) from failure
            raise
        self._log.info("downloading", model=job.wish.model, status=state.status)
        return state

    async def _state(self, job: Job) -> internal.DownloadState:
        try:
            state = await self._upstream.ask(host.download_state(job.id))
        except UpstreamFailure as failure:
            if failure.status != 404:
                raise
            # An LM Studio that was restarted has forgotten its jobs, but not what it had got.
            self._log.info("a download is begun again", model=job.wish.model)
            return await self._begin(job)
        return state

    def _take(self, job: Job, state: internal.DownloadState) -> None:
        job.id = _or_nothing(state.job_id) or job.id
        job.total = _bytes(state.total) or job.total
        job.completed = _bytes(state.completed) or job.completed
        if state.status == "failed":
            words = _or_nothing(state.message) or "LM Studio says no more"
            raise Refusal(500, f"the download of {job.wish.model} failed: {words}")
        job.is_done = state.status in ("completed", "already_downloaded")
        if not job.is_done and not job.id:
            raise Refusal(502, f"LM Studio began no download of {job.wish.model}: {state.status}")


def _or_nothing(text: str | UnsetType) -> str:
    return "" if isinstance(text, UnsetType) else text


def _bytes(number: float | UnsetType) -> int:
    return 0 if isinstance(number, UnsetType) else int(number)
