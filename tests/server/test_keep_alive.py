"""How long a connection stays open between two calls: longer than proxies and clients wait."""

import http.client
import time

import pytest
from serving import PATIENCE_S, SlowRecognizer, listening

from visavis.client import wire
from visavis.config import Settings
from visavis.server.listening import _config as config_of


@pytest.mark.thorough
@pytest.mark.parametrize(("keep_alive_s", "stays"), [(0.2, False), (30.0, True)])
def test_an_idle_connection(keep_alive_s: float, *, stays: bool) -> None:
    settings = Settings(port=0, keep_alive_s=keep_alive_s, read_timeout_s=1.0)
    with listening(settings, SlowRecognizer().as_recognizer()) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() is not None
        time.sleep(2.0)  # also longer than a request may take to come
        if stays:
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
        else:
            assert connection.sock.recv(1) == b""
        connection.close()


def test_the_client_gives_up_before_proxies_and_they_before_the_server() -> None:
    client_s = wire.settings_of("http://localhost:8000", None, 1.0, 0)["limits"].keepalive_expiry
    server_s = config_of("a:b", Settings()).timeout_keep_alive
    assert client_s < 60 < server_s == Settings().keep_alive_s
