"""What operators take from docs/ and deploy/: configurations of proxies, read by the real programs; the dashboard."""

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from certificates import make_certificate
from pages import blocks_of
from serving import eventually, listening

from visavis import Recognizer
from visavis.config import Settings
from visavis.server.observability import Metrics

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-of-24-characters"  # noqa: S105  # of no key anywhere
NAME = "faces.example.com"
EXPRESSION = re.compile(r"\b(?:visavis|process)_\w+")


def block_of(language: str) -> str:
    (block,) = [each.text for each in blocks_of(ROOT / "docs" / "proxies.md") if each.language == language]
    return block


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def nginx(folder: Path, port: int, behind: int) -> list[str]:
    """Write nginx's configuration, with ports and files of this test, and return the command."""
    text = block_of("nginx").replace("listen 443", f"listen 127.0.0.1:{port}").replace(":8000", f":{behind}")
    text = re.sub(r"/etc/letsencrypt/live/[^;]*/", f"{folder}/", text)
    places = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\nevents {{}}\n"
        f"http {{ access_log off;\n{places}{text}}}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, port: int, behind: int) -> list[str]:
    """Write Caddy's, likewise; without TLS, as nobody can be asked for a certificate."""
    text = block_of("caddyfile").replace(NAME, f"http://{NAME}:{port}", 1).replace(":8000", f":{behind}")
    text = text.replace("{\n", "{\n\tbind 127.0.0.1\n", 1)
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n}}\n{text}")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            eventually(lambda: answers() or process.poll() is not None)
            assert process.poll() is None, process.stderr and process.stderr.read()
            yield
        finally:
            process.kill()


@pytest.mark.parametrize(("proxy", "scheme"), [(nginx, "https"), (caddy, "http")])
def test_a_proxy_as_the_page_has_it(
    proxy: Callable[[Path, int, int], list[str]],
    scheme: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recognizer: Recognizer,
) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    if shutil.which(proxy.__name__) is None:
        pytest.skip(f"{proxy.__name__} is not installed")
    make_certificate(tmp_path / "fullchain.pem")
    (tmp_path / "fullchain.key").rename(tmp_path / "privkey.pem")
    settings = Settings(port=0, keys=(("read", SECRET),), trusted_proxies=("127.0.0.1",), rate="2/hour")
    with listening(settings, recognizer) as server:
        port = free_port()
        with (
            running(proxy(tmp_path, port, server.port), port),
            httpx.Client(transport=httpx.HTTPTransport(verify=False, local_address="127.0.0.2")) as client,
        ):

            def status(base: str, address: str, **headers: str) -> int:
                told = {"Host": NAME, "X-Forwarded-For": address, **headers}
                request = client.build_request("GET", f"{base}/v1/models", headers=told)
                return client.send(request).status_code

            through, past = f"{scheme}://127.0.0.1:{port}", f"http://127.0.0.1:{server.port}"
            assert status(through, "10.0.0.1", **{"X-API-Key": SECRET}) == 200
            # Whoever makes up addresses is one caller all the same, through the proxy and past it.
            assert [status(through, f"10.0.0.{number}") for number in range(3)] == [401, 401, 429]
            assert status(past, "10.0.0.9") == 429
            assert httpx.get(f"{past}/v1/models", headers={"X-Forwarded-For": "10.0.0.9"}).status_code == 401


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() -> None:
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "info": ("_info",), "gauge": ("",)}
    there = {
        family.name + suffix: family for family in Metrics().registry.collect() for suffix in suffixes[family.type]
    }
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "visavis.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [each["query"] for each in dashboard["templating"]["list"]]
    page = (ROOT / "docs" / "monitoring.md").read_text()
    names = {name for text in (*asked, *re.findall(r"expr: (.+)", page)) for name in EXPRESSION.findall(text)}
    assert len(names) > 15
    assert names - there.keys() == set()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
