"""The server under hostile requests: what the costliest of each kind costs in processor time and in memory.

python bench/bombs.py             all of it, some twenty minutes
python bench/bombs.py --quick     the worst of each format, and every form once
python bench/bombs.py TIFF JSON   cases whose names hold one of these words

A request has at most 25 MB and 16 images, in each of five forms: files of a form, base64, URL, arrays, and those of
the old services. Processor time is the server's, user and system; memory its peak beyond what it had when idle.
"""

import argparse
import functools
import http.client
import http.server
import json
import operator
import os
import re
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from http_load import multipart
from server import free_port, running, visavis_server

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
import image_bombs as bombs
from image_bombs import encoded, heif, noise, plain

MOST_BYTES, MOST_IMAGES, MOST_BODY_BYTES = 20_000_000, 16, 25_000_000
MOST_S, MOST_MB = 10, 500
SIDE = 7071  # of an image of 50 megapixels
_TICKS = os.sysconf("SC_CLK_TCK")
_TIMEOUT_S = 300

Make = Callable[[], bytes]


def _pixels(format_: str, side: int, mode: str = "RGB", **options: Any) -> Make:  # noqa: ANN401  # Pillow's own
    return lambda: encoded(plain(side, mode), format_, **options)


def _tiff(mode: str, compression: str = "tiff_lzw", side: int = SIDE) -> Make:
    return lambda: encoded(PIL.Image.new(mode, (side, side)), "TIFF", compression=compression)


def _noise(format_: str, side: int, **options: Any) -> Make:  # noqa: ANN401  # Pillow's own
    return lambda: encoded(noise(side), format_, **options)


IMAGES: Mapping[str, Make] = {
    "GIF, a strip of 32 x 64,031": lambda: bombs.gif_strip(32, 64_031),
    "BMP of runs, 2,000 x 2,000": lambda: bombs.bmp_of_runs(2000, 2000),
    "BMP of runs, one row": lambda: bombs.bmp_of_runs(3_900_000, 1),
    "BMP of 1 bit": _pixels("BMP", SIDE, "1"),
    "JPEG": _pixels("JPEG", SIDE, subsampling=0),
    "JPEG, noise": _noise("JPEG", 5500),
    "JPEG, CMYK": _pixels("JPEG", SIDE, "CMYK"),
    "JPEG, progressive CMYK": _pixels("JPEG", 5500, "CMYK", progressive=True),
    "JPEG, progressive 4:4:4": _pixels("JPEG", SIDE, progressive=True, subsampling=0),
    "JPEG of 60 scans": lambda: bombs.jpeg_of_scans(6000),
    "JPEG of arithmetic coding": lambda: bombs.jpeg_of_arithmetic(6000, 18_000_000),
    "JPEG, just enough segments": lambda: bombs.jpeg_of_segments(49_000),
    "JPEG, just enough late segments": lambda: bombs.jpeg_of_late_segments(49_000),
    **{f"PNG, {mode}": _pixels("PNG", SIDE, mode) for mode in ("RGB", "RGBA", "LA", "P", "L", "1")},
    "PNG, 16 bits": lambda: encoded(PIL.Image.fromarray(np.zeros((SIDE, SIDE), np.uint16)), "PNG"),
    "PNG, just enough chunks": lambda: bombs.png_of_short_data(33_000),
    "PNG, noise": _noise("PNG", 2550, compress_level=1),
    "GIF": _pixels("GIF", SIDE, "P", transparency=1),
    "GIF, just enough blocks": lambda: bombs.gif_of_comments(49_000),
    **{f"TIFF, {mode}": _tiff(mode) for mode in ("RGB", "LA", "I;16", "1")},
    **{f"TIFF, {mode}, 46 MP": _tiff(mode, side=6800) for mode in ("RGBA", "F", "I", "CMYK", "LAB")},
    "TIFF, LZMA": _tiff("RGB", "lzma"),
    "TIFF, ZSTD": _tiff("RGB", "zstd"),
    "TIFF, group 4": lambda: encoded(plain(SIDE, "1"), "TIFF", compression="group4"),
    "TIFF, turned": lambda: encoded(plain(SIDE), "TIFF", compression="tiff_lzw", tiffinfo={274: 6}),
    "TIFF, just enough strips": lambda: bombs.tiff_of_strips(99_000),
    "TIFF, just enough compressed strips": lambda: bombs.tiff_of_strips(199_000, 5),
    "TIFF, just enough numbers": lambda: bombs.tiff_of_numbers(390_000),
    "TIFF of long strips": lambda: bombs.tiff_of_long_strips(45_000, 1_000_000),
    "TIFF of a JPEG of many scans": lambda: bombs.tiff_of_jpeg_scans(4000),
    "WebP": _pixels("WEBP", SIDE, method=0),
    "WebP, RGBA": _pixels("WEBP", SIDE, "RGBA", method=0, lossless=True, quality=0),
    "WebP, noise": _noise("WEBP", 2500, method=0, lossless=True, quality=0),
    "AVIF of 7,071 x 7,071": _pixels("AVIF", SIDE, speed=10),
    "AVIF": _pixels("AVIF", 5500, speed=10, subsampling="4:4:4"),
    "AVIF, RGBA": _pixels("AVIF", 4800, "RGBA", speed=10, subsampling="4:4:4"),
    "AVIF, noise": _noise("AVIF", 3400, speed=10, quality=90, subsampling="4:4:4"),
    "JPEG 2000": _pixels("JPEG2000", 4300),
    "JPEG 2000, RGBA": _pixels("JPEG2000", 3700, "RGBA"),
    "JPEG 2000, noise": _noise("JPEG2000", 2400),
    "JPEG 2000 of small blocks": lambda: bombs.j2k_of_blocks(4000, 16),
    "JPEG 2000 of tiny blocks": lambda: bombs.j2k_of_blocks(2000, 4),
    "JPEG 2000 of tiny precincts": lambda: bombs.j2k_of_tiny_precincts(2000),
    "JPEG 2000 of tiles": lambda: bombs.j2k_of_tiles(1000),
    "JPEG 2000 of two sizes": lambda: bombs.j2k_of_another_size(7000),
    "JPEG 2000, just enough boxes": lambda: bombs.j2k_of_boxes(32_000),
    "HEIC": lambda: heif(plain(SIDE), quality=50),
    "HEIC, 4:4:4": lambda: heif(plain(4900), quality=50, chroma=444),
    "HEIC, noise": lambda: heif(noise(2000), quality=90, chroma=444),
}
"""Images that are large, or are just allowed; with the floods of ``image_bombs``, which are not."""
QUICK = ("strip", "7,071", "60 scans", "PNG, RGBA", "RGBA, 46", "WebP", "2000, RGBA", "HEIC", "JSON", "URL", "strips")


class Case(NamedTuple):
    """A request."""

    name: str
    path: str
    body: bytes
    content_type: str = "application/json"


def detecting(name: str, **members: object) -> Case:
    """Return a request for the faces of images."""
    return Case(name, "/v1/detect", json.dumps(members, separators=(",", ":")).encode())


def _several(file: bytes, share: float = 1.0) -> list[bytes]:
    """Return an image as often as it fits into one request, where it takes so many bytes for each of its own."""
    return [file] * min(MOST_IMAGES, int((MOST_BODY_BYTES - 20_000) / (share * len(file) + 300)))


def image_cases(name: str, make: Make, web: dict[str, bytes], url: str) -> Iterator[Case]:
    """Yield requests with an image in each form in which it fits."""
    file = make()
    if not file or len(file) > MOST_BYTES:
        raise SystemExit(f"{name}: {len(file):,} bytes")
    web["/bomb"] = file
    for fraction in (0.08, 57):  # the default, and what has every pixel decoded
        named = f"{name}{'' if fraction < 1 else ', small faces'}"
        parts, kind = multipart({"images": file})
        piece = parts[: parts.rindex(b"--visavis-bench--")]
        option = b'--visavis-bench\r\nContent-Disposition: form-data; name="min_face"\r\n\r\n%s\r\n'
        option %= str(fraction).encode()
        body = piece * len(_several(file)) + option + b"--visavis-bench--\r\n"
        yield Case(f"{named}: files", "/v1/detect", body, kind)
        if len(file) > MOST_BODY_BYTES // MOST_IMAGES:
            yield detecting(f"{named}: URL", images=[{"url": f"{url}/bomb"}] * MOST_IMAGES, min_face=fraction)
    text = b64encode(file).decode()
    if texts := [{"base64": text}] * len(_several(file, 4 / 3)):
        yield detecting(f"{name}: base64", images=texts, attributes=[])
    if len(file) * 4 < MOST_BODY_BYTES:
        data = json.dumps({"array": [list(each) for each in _several(file, 4)]}, separators=(",", ":")).encode()
        yield Case(f"{name}: array of bytes", "/face-embedding/array", data)


def text_cases() -> Iterator[Case]:
    """Yield requests whose JSON, text or form is the burden."""

    def repeated(before: str, piece: str, after: str, most: float = MOST_BODY_BYTES) -> bytes:
        count = int((most - len(before) - len(after)) / len(piece.encode()))
        return (before + piece * count + after).encode()

    def plain_json(name: str, body: bytes, path: str = "/v1/detect") -> Case:
        return Case(f"JSON: {name}", path, body)

    rows = ",".join(["[" + ",".join(["1"] * 1999) + "]"] * 2000)
    yield plain_json("array of 4 M numbers", f'{{"images":[{{"array":[{rows}]}}]}}'.encode())
    pixels = ",".join(["[" + ",".join(["[1]"] * 700) + "]"] * 2000)
    yield plain_json("array of 1.4 M pixels", f'{{"images":[{{"array":[{pixels}]}}]}}'.encode())
    yield plain_json(
        "truth and check", f'{{"truth":[{rows[: len(rows) // 2 // 4000 * 4000 - 1]}],"check":[[1]]}}'.encode(), "/"
    )
    yield plain_json("lists", repeated('{"images":[', "[],", "[]]}", 4_400_000))
    yield plain_json("objects", repeated('{"images":[', '{"a":1},', "1]}", 11_900_000))
    yield plain_json("deep objects", repeated("", '{"a":', "1", 7_400_000))
    yield plain_json("floats", repeated('{"images":[', "1e-9,", "1]}", 19_000_000))
    yield plain_json("short texts", repeated('{"images":[', '"ab",', '""]}', 19_900_000))
    yield plain_json("members", ("{" + ",".join(f'"{n:x}":1' for n in range(1_900_000)) + "}").encode())
    yield plain_json(
        "attributes", repeated('{"images":[{"base64":"AAAA"}],"attributes":[', '"a",', '"a"]}', 15_000_000)
    )
    yield plain_json("wide text", repeated('{"images":[{"base64":"', "A", '\U0001f600"}]}'))
    yield plain_json("spaced base64", repeated('{"images":[{"base64":"', "AA ", '"}]}'))
    yield plain_json("spaces", repeated("{", " ", "}"))
    numbers = ",".join(["255"] * 3_900_000)
    yield plain_json("a file of 3.9 M numbers", f'{{"array":[{numbers}]}}'.encode(), "/face-embedding/array")
    form = "multipart/form-data; boundary=b"
    start = '--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n'
    for name, piece in {"breaks": "\r\n", "returns": "\r", "near boundaries": "\r\n--", "dashes": "-"}.items():
        yield Case(f"form: {name}", "/v1/detect", repeated(start + "\r\n", piece, "\r\n--b--\r\n"), form)
    yield Case("form: a long header", "/v1/detect", repeated(start + "X: ", "a", "\r\n\r\n\r\n--b--\r\n"), form)
    yield Case("form: headers", "/v1/detect", repeated(start, "X: a\r\n", "\r\n\r\n--b--\r\n"), form)
    yield Case("form: parts", "/v1/detect", repeated("", start + "\r\n\r\n", "--b--\r\n"), form)
    yield Case("form: before the first part", "/v1/detect", repeated("", "\r\n", start + "\r\n\r\n--b--\r\n"), form)


class _Files(http.server.BaseHTTPRequestHandler):
    """Answers with the file of a path."""

    def __init__(self, files: dict[str, bytes], *arguments: Any) -> None:  # noqa: ANN401  # the server's
        self.files = files
        super().__init__(*arguments)

    def do_GET(self) -> None:
        data = self.files[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[str]:
    """Serve files by HTTP until the block ends; yield the URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, files))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Process:
    """What a process has used."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    @property
    def seconds(self) -> float:
        """User and system time."""
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def megabytes(self, name: str) -> float:
        """Return VmRSS, or VmHWM, its peak."""
        found = re.search(rf"{name}:\s*(\d+) kB", (self._folder / "status").read_text())
        return int(found[1]) / 1000 if found else 0.0

    def forget_peak(self) -> None:
        """Let the peak be what the process has now."""
        (self._folder / "clear_refs").write_text("5")


class Cost(NamedTuple):
    """What requests cost."""

    name: str
    seconds: float
    megabytes: float
    answer: str


def measured(process: Process, idle_mb: float, case: Case, port: int, clients: int = 1) -> Cost:
    """Send a request, by so many clients at once, and return its cost."""
    process.forget_peak()
    before, answers = process.seconds, list[str]()

    def call() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", case.path, case.body, {"Content-Type": case.content_type})
            answer = connection.getresponse()
            data = answer.read().decode()
            codes = sorted(set(re.findall(r'"code":"(\w+)"', data)))
            answers.append(f"{answer.status} {' '.join(codes)}")
        except OSError as error:
            answers.append(type(error).__name__)
        finally:
            connection.close()

    threads = [threading.Thread(target=call) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(0.05)
    told = ", ".join(sorted(set(answers)))
    return Cost(case.name, process.seconds - before, process.megabytes("VmHWM") - idle_mb, told)


def main() -> None:
    """Measure, print, and fail where a bound does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="of the names of cases; without any, all")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    words = arguments.words or (QUICK if arguments.quick else [""])
    costs: list[Cost] = []
    web: dict[str, bytes] = {}
    port = free_port()
    settings = {"fetch_allow": "127.0.0.1", "auth": "off", "store": f"sqlite:///{tempfile.mkdtemp()}/galleries.db"}
    with serving(web) as url, running(*visavis_server(port, **settings)) as pid:
        process = Process(pid)
        small = b64encode(encoded(plain(64), "PNG")).decode()
        for _ in range(3):
            measured(process, 0, detecting("the first", images=[{"base64": small}] * MOST_IMAGES), port)
        idle_mb = process.megabytes("VmRSS")
        print(f"idle: {idle_mb:.0f} MB\n")
        for case in chosen(words, web, url):
            cost = measured(process, idle_mb, case, port)
            costs.append(cost)
            print(f"{cost.seconds:7.2f} s {cost.megabytes:6.0f} MB  {cost.name}: {cost.answer}", flush=True)
        if any(word in "URL" for word in words):
            web["/bomb"] = bombs.jpeg_of_fill(MOST_BYTES - 10_000)
            case = detecting("ten requests of 16 URLs", images=[{"url": f"{url}/bomb"}] * MOST_IMAGES)
            ten = measured(process, idle_mb, case, port, clients=10)
            print(f"\nten requests of 16 URLs at once: {ten.seconds:.2f} s, {ten.megabytes:.0f} MB: {ten.answer}")
    print(f"\n{len(costs)} requests; the worst:")
    for which in (operator.attrgetter("seconds"), operator.attrgetter("megabytes")):
        for cost in sorted(costs, key=which, reverse=True)[:8]:
            print(f"{cost.seconds:7.2f} s {cost.megabytes:6.0f} MB  {cost.name}: {cost.answer}")
        print()
    if any(cost.seconds > MOST_S or cost.megabytes > MOST_MB for cost in costs):
        raise SystemExit(f"more than {MOST_S} s or {MOST_MB} MB")


def chosen(words: Sequence[str], web: dict[str, bytes], url: str) -> Iterator[Case]:
    """Yield the cases whose names, or those of their images, hold one of these words."""
    floods = {name: functools.partial(make, MOST_BYTES - 100_000) for name, make in bombs.FLOODS.items()}
    images: dict[str, Make] = {**IMAGES, **floods}
    for name, make in images.items():
        if any(word in name for word in words):
            yield from image_cases(name, make, web, url)
    for case in text_cases():
        if any(word in case.name for word in words):
            yield case


if __name__ == "__main__":
    main()
