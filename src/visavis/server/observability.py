"""Request ids, metrics and logs, for operators: never an image, an embedding, a URL or a query string."""

import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from visavis import __version__
from visavis.config import LogFormat
from visavis.models.recognizer import Recognizer
from visavis.server.pool import WorkerPool
from visavis.server.problems import INTERNAL_DETAIL, REQUEST_ID, Problem

_log = logging.getLogger("visavis.server")

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
_LATENCIES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_POOL_FACTS = {
    "waiting": "Jobs waiting for a worker.",
    "busy": "Workers at work.",
    "queue": "Jobs that may wait.",
    "workers": "Workers.",
}
_NO_ANSWER = 499  # what is logged where the client left before the answer
_PROBES = {"/healthz", "/readyz", "/metrics"}  # asked every few seconds: logged where they fail
_FIRST_FAULT = 400
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-site",  # else pages of strangers may load pictures, and learn who is here
}


class Metrics:
    """What Prometheus reads; each application has its own. No label names a gallery, a subject or a key."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        counter = partial(Counter, registry=registry)
        self._requests = counter("visavis_requests", "Requests answered.", ["method", "route", "status"])
        self._seconds = Histogram(
            "visavis_request_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=_LATENCIES_S,
            registry=registry,
        )
        self._images = counter("visavis_images", "Images processed.", ["route"])
        self._faces = counter("visavis_faces", "Faces found.", ["route"])
        self._enrolled = counter("visavis_enrolled_samples", "Samples stored.")
        self._forgotten = counter("visavis_forgotten_samples", "Samples forgotten by calls.")
        self.expired = counter("visavis_expired_subjects", "Subjects whose time was over.")
        self._outcomes = counter("visavis_identifications", "Faces identified, or why not.", ["outcome"])
        self._model = Info("visavis_model", "The models in use.", registry=registry)
        self._pools = {
            (pool, fact): Gauge(f"visavis_{pool}_{fact}", text, registry=registry)
            for pool in ("pool", "quick", "fetch")
            for fact, text in _POOL_FACTS.items()
        }

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method if method in _METHODS else "other", route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count(self, route: str, counts: Mapping[str, Any]) -> None:
        """Count what an answer of a route, called by its path, is about.

        These are images processed, faces found, samples enrolled and forgotten; and outcomes of identifications:
        "matched", or why a face is nobody.
        """
        if "images" in counts:
            self._images.labels(route).inc(counts["images"])
            self._faces.labels(route).inc(counts["faces"])
        self._enrolled.inc(counts.get("enrolled", 0))
        self._forgotten.inc(counts.get("forgotten", 0))
        for outcome in counts.get("outcomes", ()):
            self._outcomes.labels(outcome).inc()

    def watch(self, recognizer: Recognizer, **pools: WorkerPool) -> None:
        """Show which models are in use, and how full pools are."""
        for (name, fact), gauge in self._pools.items():
            gauge.set_function(partial(getattr, pools[name], fact))
        runtime = recognizer.runtime
        facts = {"pack": recognizer.pack.name, "runtime": runtime.runtime, "precision": runtime.precision}
        self._model.info({"version": __version__, **facts})


class Observed:
    """The outermost ASGI middleware: request ids, security headers, metrics, a log line, an answer to every fault."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = Headers(scope=scope).get("x-request-id", "")
        request_id = offered if _SANE_ID.fullmatch(offered) else secrets.token_hex(8)
        REQUEST_ID.set(request_id)
        start = time.perf_counter()
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception:  # noqa: BLE001  # whatever it is, the client gets an answer
            _log.exception("a request failed")
            if not status:
                await Problem("internal", INTERNAL_DETAIL).to_response()(scope, receive, observed)
        finally:
            self._record(scope, status or _NO_ANSWER, time.perf_counter() - start)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # What FastAPI itself serves, such as the OpenAPI document, has an endpoint and no route.
        route = str(getattr(scope.get("route"), "path", scope["path"] if "endpoint" in scope else "none"))
        self._metrics.observe(scope["method"], route, status, seconds)
        key = scope.get("state", {}).get("key")
        facts = {"method": scope["method"], "route": route, "status": status, "duration_ms": round(1000 * seconds, 1)}
        level = logging.DEBUG if route in _PROBES and status < _FIRST_FAULT else logging.INFO
        _log.log(level, "request", extra={"facts": {**facts, "key": key.id if key else None}})


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class _TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        facts = " ".join(f"{name}={value}" for name, value in _facts(record).items())
        line = f"{moment} {record.levelname.lower()} {record.getMessage()} {facts}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _facts(record: logging.LogRecord) -> dict[str, object]:
    given: dict[str, object] = getattr(record, "facts", {})
    request_id = REQUEST_ID.get()
    facts = {**given, "request_id": request_id} if request_id else given
    return {name: value for name, value in facts.items() if value is not None}


def configure_logging(form: LogFormat) -> None:
    """Send this process's log to standard error, a line for each record."""
    handler = logging.StreamHandler()
    as_text = form == "text" or (form == "auto" and sys.stderr is not None and sys.stderr.isatty())
    handler.setFormatter(_TextLines() if as_text else _JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("visavis").setLevel(logging.INFO)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # whether an image can be read is said elsewhere
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it tells what the caller sent
