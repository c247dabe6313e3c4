"""The service over HTTP: routes, and what each error is to a client."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from flywheel import __version__
from flywheel.errors import DataError, FlywheelError, TransientError
from flywheel.serving.feedback import Conflict, NotStored, PredictionNotOwned
from flywheel.serving.http.auth import Caller, Keys
from flywheel.serving.http.middleware import Guards
from flywheel.serving.http.openai_api import ChatCompletion, ChatRequest, asked_of, completion
from flywheel.serving.http.request_origin import Strangers
from flywheel.serving.http.schemas import (
    Answer,
    Answers,
    FeedbackReceipt,
    FeedbackRequest,
    Health,
    PredictRequest,
    Readiness,
    Ready,
    Refusal,
    Standing,
)
from flywheel.serving.http.webhook import (
    MAX_BODY_BYTES,
    PATH,
    Hook,
    Replayed,
    TooLarge,
    TooMany,
    Unsigned,
)
from flywheel.serving.models.batching import NothingServes, Overloaded
from flywheel.serving.prometheus import CONTENT_TYPE
from flywheel.serving.service import RateLimited, Service

STATUSES: tuple[tuple[type[FlywheelError], int], ...] = (
    (Overloaded, 429),
    (RateLimited, 429),
    (NothingServes, 503),
    (NotStored, 503),
    (TooMany, 429),
    (Unsigned, 401),
    (Replayed, 409),
    (TooLarge, 413),
    (PredictionNotOwned, 403),
    (Conflict, 409),
    (DataError, 422),
    (TransientError, 503),
    (FlywheelError, 500),
)
KEYED = frozenset({"/predict", "/feedback", "/v1/chat/completions", "/metrics"})
"""What nobody asks without a key, where there are keys."""
PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal} for status in (400, 401, 403, 408, 409, 413, 421, 422, 429, 503)
}


router = APIRouter(responses=_REFUSALS)
writing = APIRouter(responses=_REFUSALS)
"""For use cases whose answers are written."""
hooks = APIRouter(responses=_REFUSALS)
"""For services that MLflow may wake."""


def build_app(service: Service, keys: Keys, hook: Hook | None = None) -> FastAPI:
    """The application; the service lives as long as it does. Without a hook nobody wakes it."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        # what it is for is said to those who may use it
        title="flywheel" if keys.callers else f"flywheel: {service.use_case.name}",
        description="" if keys.callers else service.use_case.description,
        version=__version__,
        # their pages load scripts from elsewhere
        docs_url=None,
        redoc_url=None,
        lifespan=life,
    )
    app.state.service, app.state.keys, app.state.hook = service, keys, hook
    app.include_router(router)
    if service.use_case.is_generation:
        app.include_router(writing)
    if hook is not None:
        app.include_router(hooks)
    for path, (name, media_type) in PAGE.items():
        app.get(path, include_in_schema=False)(_file(name, media_type))
    _answer_errors(app, service)
    routes = (*router.routes, *writing.routes, *hooks.routes, *app.routes)
    app.add_middleware(
        Guards,
        strangers=Strangers(
            keys,
            KEYED,
            max_body_bytes=service.config.max_body_bytes,
            # one more, for the hook says itself what is too large
            limits={PATH: MAX_BODY_BYTES + 1},
        ),
        metrics=service.metrics,
        paths=frozenset(getattr(route, "path", "") for route in routes),
    )
    return app


# ---- Who asks


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


Serving = Annotated[Service, Depends(_service)]


def _caller(
    request: Request, service: Serving, authorization: Annotated[str | None, Header()] = None
) -> Caller:
    keys: Keys = request.app.state.keys
    caller = keys.caller(authorization)
    if caller is None:
        service.metrics.refused.labels("key").inc()
        raise HTTPException(
            401, "Send a key: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"}
        )
    return caller


def _perhaps(
    request: Request, authorization: Annotated[str | None, Header()] = None
) -> Caller | None:
    keys: Keys = request.app.state.keys
    return keys.caller(authorization)


Known = Annotated[Caller, Depends(_caller)]
Perhaps = Annotated[Caller | None, Depends(_perhaps)]


def _trusted(caller: Known) -> Caller:
    if caller.customer_id is not None:
        raise HTTPException(403, "This is not for customers' keys.")
    return caller


# ---- Routes


@router.post("/predict")
async def predict(asked: PredictRequest, caller: Known, service: Serving) -> Answer | Answers:
    """Answer one text, or many as ``inputs``."""
    answers = await service.predict(caller, asked.asked, durable=asked.durable)
    return Answers(answers=answers) if asked.inputs is not None else answers[0]


@writing.post("/v1/chat/completions")
async def chat_completions(asked: ChatRequest, caller: Known, service: Serving) -> ChatCompletion:
    """Write an answer, in OpenAI's form."""
    (answer,) = await service.predict(caller, [asked_of(asked, service.use_case)])
    return completion(answer, service.use_case)


@router.post("/feedback", status_code=202)
async def feedback(given: FeedbackRequest, caller: Known, service: Serving) -> FeedbackReceipt:
    """Take a reaction to an answer. It is on the disk when this answers."""
    return await service.feedback(caller, given)


@router.get("/healthz")
async def healthz(response: Response, service: Serving) -> Health:
    """Whether the process works; restart it when not."""
    response.status_code = 200 if service.alive else 503
    return Health(alive=service.alive)


@router.get("/readyz")
async def readyz(
    response: Response, caller: Perhaps, service: Serving
) -> Ready | Standing | Readiness:
    """Whether requests are answered; with a key also by which version, and a backend hears all."""
    found = service.readiness()
    response.status_code = 200 if found.ready else 503
    if caller is None:
        return Ready(ready=found.ready)
    if caller.customer_id is not None:
        return Standing.model_validate(found.model_dump(include=set(Standing.model_fields)))
    return found


@router.get(
    "/metrics",
    dependencies=[Depends(_trusted)],
    # what is refused is JSON here, too
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(service: Serving) -> Response:
    """For Prometheus: the service, and the use case's nights."""
    return Response(service.metrics_page(), media_type=CONTENT_TYPE)


@hooks.post(PATH, status_code=204)
async def registry_changed(request: Request, service: Serving) -> None:
    """MLflow's webhook: look at the registry now. Its signature is its key."""
    hook: Hook = request.app.state.hook
    hook.receive(request.headers, await request.body(), now=time.time())
    service.wake()


def _file(name: str, media_type: str) -> Callable[[], Awaitable[Response]]:
    content = files("flywheel.serving").joinpath(name).read_bytes()

    async def page() -> Response:
        return Response(content, media_type=media_type)

    return page


# ---- Errors

_UNKNOWN_FIELD = "No such field; /openapi.json names all"


def _answer_errors(app: FastAPI, service: Service) -> None:
    """Errors name fields and rules. What was sent is in none of them."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        service.metrics.refused.labels("schema").inc()
        detail = [
            {
                "field": ".".join(part for part in fault["loc"][1:] if isinstance(part, str)),
                "rule": _UNKNOWN_FIELD if fault["type"] == "extra_forbidden" else fault["msg"],
            }
            for fault in error.errors()
        ]
        return JSONResponse({"detail": detail}, 422)

    @app.exception_handler(FlywheelError)
    async def refused(_: Request, error: FlywheelError) -> JSONResponse:
        status = next(status for kind, status in STATUSES if isinstance(error, kind))
        service.metrics.refused.labels(type(error).__name__).inc()
        wait_s = error.facts.get("retry_after_s", 1 if status in (429, 503) else None)
        headers = None if wait_s is None else {"Retry-After": str(wait_s)}
        detail = error.message if status < 500 or isinstance(error, TransientError) else "failed"
        return JSONResponse({"detail": detail}, status, headers)
