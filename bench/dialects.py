"""Time of a search in the words of each dialect beside the native identify: one server, one client, in turns.

    python bench/dialects.py
    python bench/dialects.py rekognition --calls 400 --subjects 10000

Whoever adds a dialect adds a line to ``SEARCHES``: a function that returns its call, and its name in VISAVIS_DIALECTS.
"""

import argparse
import base64
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from portraits import hopper_path
from server import free_port, running

from visavis import Recognizer, open_store
from visavis.options import DEFAULT_PACK, MOST_CANDIDATES, Policy
from visavis.server.keys import KeyStore
from visavis.service.enroller import Enrolment
from visavis.service.galleries import Galleries

GALLERY = "bench"
_WARM = 10
_PERCENT = 95


@dataclass(frozen=True)
class Call:
    """A request by POST."""

    path: str
    body: bytes
    headers: dict[str, str]


def native(image: bytes) -> Call:
    """Return the call that the others are measured beside."""
    body = {"images": [{"base64": base64.b64encode(image).decode()}], "faces": "largest", "limit": 80}
    return Call(f"/v1/galleries/{GALLERY}/identify", json.dumps(body).encode(), {"Content-Type": "application/json"})


def rekognition(image: bytes) -> Call:
    """Return SearchFacesByImage of AWS Rekognition."""
    body = {"CollectionId": GALLERY, "Image": {"Bytes": base64.b64encode(image).decode()}}
    target = {"X-Amz-Target": "RekognitionService.SearchFacesByImage", "Content-Type": "application/x-amz-json-1.1"}
    return Call("/rekognition", json.dumps(body).encode(), target)


def compreface(image: bytes) -> Call:
    """Return CompreFace's recognition."""
    return form("/api/v1/recognition/recognize?limit=1&prediction_count=5", "file", image)


def deepstack(image: bytes) -> Call:
    """Return DeepStack's recognition, which takes no limit."""
    return form("/v1/vision/face/recognize", "image", image)


def deepface(image: bytes) -> Call:
    """Return DeepFace's search."""
    body = {"img": f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"}
    return Call("/search", json.dumps(body).encode(), {"Content-Type": "application/json"})


def form(path: str, name: str, image: bytes) -> Call:
    """Return a call with an image in a form."""
    head = f'--part\r\nContent-Disposition: form-data; name="{name}"; filename="image.jpg"\r\n\r\n'.encode()
    return Call(path, head + image + b"\r\n--part--\r\n", {"Content-Type": "multipart/form-data; boundary=part"})


SEARCHES: Mapping[str, Callable[[bytes], Call]] = {
    "rekognition": rekognition,
    "compreface": compreface,
    "deepstack": deepstack,
    "deepface": deepface,
}


def fill(url: str, image: bytes, subjects: int) -> None:
    """Make a gallery of strangers, and of the one person who is looked for."""
    eyes = Recognizer()
    galleries = Galleries(open_store(url), eyes)
    gallery = galleries.create(GALLERY, policy=Policy(most_candidates=MOST_CANDIDATES))
    gallery.enrol(image, "hopper")
    drawn = np.random.default_rng(1).normal(size=(subjects, eyes.pack.dimension)).astype(np.float32)
    strangers = (Enrolment(subject=f"s{place}", embedding=each) for place, each in enumerate(drawn))
    for _ in gallery.enrol_many(strangers, allow_conflict=True):
        pass
    galleries.store.close()


def measure(port: int, calls: Mapping[str, Call], rounds: int) -> dict[str, np.ndarray]:
    """Return the seconds of each call in each round, in which they come one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for place in range(_WARM + rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            connection.request("POST", call.path, call.body, call.headers)
            answer = connection.getresponse()
            body = answer.read()
            if place >= _WARM:
                seconds[name].append(time.perf_counter() - start)
            if answer.status >= http.HTTPStatus.BAD_REQUEST or b"hopper" not in body:
                raise SystemExit(f"{name}: {answer.status} {body[:500].decode(errors='replace')}")
    return {name: np.array(each) for name, each in seconds.items()}


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dialects", nargs="*", default=list(SEARCHES), help=", ".join(SEARCHES))
    parser.add_argument("--calls", type=int, default=200, help="of each; default %(default)s")
    parser.add_argument("--subjects", type=int, default=1000, help="of the gallery; default %(default)s")
    options = parser.parse_args()
    image, port = hopper_path().read_bytes(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder, 'bench.db')}"
        fill(url, image, options.subjects)
        keys = Path(folder, "keys.sqlite")
        with closing(KeyStore(keys)) as store:
            _, key = store.create("bench", "read", (GALLERY,), service="recognition")
        environment = {
            "VISAVIS_DIALECTS": ",".join(options.dialects),
            "VISAVIS_STORE": url,
            "VISAVIS_AUTH": "off",
            "VISAVIS_KEYS_FILE": str(keys),
            "VISAVIS_DIALECT_GALLERY": GALLERY,
        }
        command = [sys.executable, "-m", "visavis", "serve", "--port", str(port)]
        with running(command, port, "/readyz", environment):
            calls = {"native": native(image), **{name: SEARCHES[name](image) for name in options.dialects}}
            if "compreface" in calls:
                calls["compreface"] = replace(
                    calls["compreface"], headers=calls["compreface"].headers | {"x-api-key": key}
                )
            found = measure(port, calls, options.calls)
    print(f"pack {DEFAULT_PACK}, {options.subjects:,} subjects, {options.calls} calls of each, one client")
    print(f"{'':14}{'median ms':>10}{f'p{_PERCENT} ms':>10}{'x native':>10}")
    for name, each in found.items():
        ratio = float(np.median(each / found["native"]))
        print(f"{name:14}{1000 * np.median(each):10.1f}{1000 * np.percentile(each, _PERCENT):10.1f}{ratio:10.2f}")


if __name__ == "__main__":
    main()
