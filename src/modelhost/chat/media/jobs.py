"""Requests for sound and images at the workers of their models, which do one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from modelhost.chat.turn import check_can
from modelhost.errors import WorkerCrashed
from modelhost.exchange.payloads import Payload
from modelhost.exchange.tasks import Task
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.lease import OnQueued
from modelhost.monitor import measure
from modelhost.workers.worker import Worker, WorkerAnswer

Check = Callable[[Worker], None]


@asynccontextmanager
async def answered_job(  # noqa: PLR0913, PLR0917 (what a request is)
    collection: ModelCollection,
    model: HostedModel,
    task: Task,
    payload: Payload,
    on_queued: OnQueued | None,
    check: Check | None = None,
) -> AsyncIterator[tuple[Worker, WorkerAnswer]]:
    """Lease the worker of ``model`` and send ``payload``; yield the worker and its answer.

    A request that waited for others in a worker that crashed is sent to the next worker.

    Raises:
        UnsupportedOperation: the worker cannot do ``task``.
        ModelhostError: ``check`` or the worker refuses the request, the worker is lost, or none can be had.
    """
    measure.answered_by(model.name)
    while True:
        async with AsyncExitStack() as stack:
            worker = await stack.enter_async_context(collection.lease(model, on_queued))
            check_can(worker, task)
            if check is not None:
                check(worker)
            try:
                answer = await stack.enter_async_context(worker.send(task, payload))
            except WorkerCrashed as error:
                if error.was_begun:
                    raise
            else:
                yield worker, answer
                return
