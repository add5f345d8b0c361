"""Signatures of AWS, version 4: those in the header of a call are checked, and URLs of objects in S3 get one.

Source: AWS, "Signature Version 4 for API requests"; tested against botocore's signer.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from urllib.parse import quote, urlsplit

from starlette.requests import Request

_ALGORITHM = "AWS4-HMAC-SHA256"
_AUTHORIZATION = re.compile(
    rf"{_ALGORITHM} +Credential=([^/,\s]+)/(\d{{8}}/[^/,\s]+/([^/,\s]+)/aws4_request), *"
    r"SignedHeaders=([a-z0-9;-]+), *Signature=([0-9a-f]{64})"
)
_MOMENT = "%Y%m%dT%H%M%SZ"
_MOST_SKEW = timedelta(minutes=15)
_PLAIN = "-_.~"  # what is not percent-encoded besides letters and digits
_URL_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Signature:
    """What the header Authorization says of who signed a call, and how."""

    key: str  # the ID of the access key
    scope: str  # date, region, service
    service: str
    headers: tuple[str, ...]  # that are signed
    value: str  # in hexadecimal

    @classmethod
    def read(cls, authorization: str) -> "Signature | None":
        """Return what a header says; None where it is of another kind, or malformed."""
        found = _AUTHORIZATION.fullmatch(authorization.strip())
        if found is None:
            return None
        key, scope, service, headers, value = found.groups()
        return cls(key, scope, service, tuple(headers.split(";")), value)

    def fault(self, request: Request, body: bytes, secret: str, now: datetime | None = None) -> str:
        """Return why a call is not signed with the secret, or an empty text.

        What is replayed within the quarter of an hour that clocks may differ by is not told from the call itself.
        """
        date = request.headers.get("x-amz-date", "")
        if stale := _stale(date, now or datetime.now(timezone.utc)):
            return stale
        if not (self.scope.startswith(date[:8]) and self.service == "rekognition"):
            return "the credential is of another date or service"
        if not {name for name in request.headers if name == "host" or name.startswith("x-amz-")} <= {*self.headers}:
            return "Host and each header that begins with X-Amz- must be signed"
        payload = hashlib.sha256(body).hexdigest()
        if request.headers.get("x-amz-content-sha256", payload) != payload:
            return "the body is not the one that was signed"
        path = request.scope["raw_path"].decode("latin-1").partition("?")[0]
        query = "&".join(sorted(filter(None, request.scope["query_string"].decode("latin-1").split("&"))))
        headers = {name: ",".join(request.headers.getlist(name)) for name in self.headers}
        canonical = _canonical(request.method, quote(path, safe=f"/{_PLAIN}"), query, headers, payload)
        good = hmac.compare_digest(_sign(secret, date, self.scope, canonical), self.value)
        return "" if good else _WRONG


_WRONG = (
    "the signature does not match: the secret is wrong, or something between changed the call; a proxy must hand on "
    "Host and the path as they are"
)


def _stale(date: str, now: datetime) -> str:
    """Return why a call's date is not of now, or an empty text."""
    try:
        moment = datetime.strptime(date, _MOMENT).replace(tzinfo=timezone.utc)
    except ValueError:
        return "X-Amz-Date must be a moment such as 20261231T235959Z"
    late = abs(now - moment) > _MOST_SKEW
    return f"the call is of {date}, more than 15 minutes from the server's time: set the clocks" if late else ""


def signed_url(
    endpoint: str, place: tuple[str, str, str | None], key: tuple[str, str] | None, *, now: datetime | None = None
) -> str:
    """Return the URL of an object in S3, by bucket, name and version; signed for a minute where there is a key.

    The key is its ID and its secret.
    """
    base, (bucket, name, version) = urlsplit(endpoint), place
    path = f"{base.path.rstrip('/')}/{quote(bucket, safe=_PLAIN)}/{quote(name, safe=f'/{_PLAIN}')}"
    query = {"versionId": version} if version else {}
    if key is None:
        return f"{base.scheme}://{base.netloc}{path}{'?' * bool(query)}{_query(query)}"
    date = (now or datetime.now(timezone.utc)).strftime(_MOMENT)
    scope = f"{date[:8]}/us-east-1/s3/aws4_request"
    query |= {
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{key[0]}/{scope}",
        "X-Amz-Date": date,
        "X-Amz-Expires": str(_URL_SECONDS),
        "X-Amz-SignedHeaders": "host",
    }
    canonical = _canonical("GET", path, _query(query), {"host": base.netloc}, "UNSIGNED-PAYLOAD")
    signature = _sign(key[1], date, scope, canonical)
    return f"{base.scheme}://{base.netloc}{path}?{_query(query)}&X-Amz-Signature={signature}"


def _query(parts: Mapping[str, str]) -> str:
    return "&".join(f"{quote(name, safe=_PLAIN)}={quote(value, safe=_PLAIN)}" for name, value in sorted(parts.items()))


def _canonical(method: str, path: str, query: str, headers: Mapping[str, str], payload: str) -> str:
    told = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in sorted(headers.items()))
    return "\n".join((method, path, query, told, ";".join(sorted(headers)), payload))


def _sign(secret: str, date: str, scope: str, canonical: str) -> str:
    hashed = hashlib.sha256(canonical.encode("latin-1", "replace")).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return _hmac(key, f"{_ALGORITHM}\n{date}\n{scope}\n{hashed}").hex()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
