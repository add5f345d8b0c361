"""Judging URLs and addresses, without a network."""

import ipaddress
import pickle

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from visavis.core.urls import AllowList, Target, check_addresses, is_public, parse_allow_list, parse_redirect, parse_url
from visavis.errors import FetchFailed, FetchRefused, InputError, InvalidOption

# Source: IANA IPv4 and IPv6 Special-Purpose Address Registries, and the clouds' own documentation.
NOT_PUBLIC = [
    *("0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255"),  # noqa: S104
    *(
        "127.0.0.0",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.0.0",
        "169.254.169.254",
        "169.254.170.2",
        "169.254.255.255",
    ),
    *("172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.9", "192.0.0.192", "192.0.0.255", "192.0.2.1"),
    *("192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "100.100.100.200"),
    *("168.63.129.16", "::", "::1", "::7f00:1", "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "64:ff9b:1::808:808", "64:ff9b:1:ffff::1", "100::1", "100:0:0:1::1"),
    *("2001::1", "2001:0:808:808::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:1ff::1", "2001:db8::1"),
    *("2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", "3fff::1", "4000::1", "5f00::1", "fc00::1"),
    *("fd00:ec2::254", "fd20:ce::254", "fdff::1", "fe80::1", "fe80::1%1", "fe80::a9fe:a9fe", "febf::1", "fec0::1"),
    *("ff02::1", "ff0e::1", "2606:4700::1%1"),
]
PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255"),
    *("192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.15", "168.63.129.17"),
    *("2001:200::1", "2001:4860:4860::8888", "2606:2800:220:1::1", "2a00:1450::1", "3ffe::1"),
    *("64:ff9b::8.8.8.8",),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_that_are(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses())
def test_nothing_is_public_that_python_calls_otherwise(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if is_public(address) and address not in ipaddress.ip_network("64:ff9b::/96"):
        assert address.is_global
        assert not any((address.is_multicast, address.is_reserved, address.is_loopback, address.is_unspecified))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://example.com", Target("http", "example.com", 80, "/")),
        ("HTTPS://EXAMPLE.com:443/A%20b?c=d&e#f", Target("https", "example.com", 443, "/A%20b?c=d&e")),
        ("https://example.com:80?x", Target("https", "example.com", 80, "/?x")),
        ("https://a_b.example-1.co.uk:8443/", Target("https", "a_b.example-1.co.uk", 8443, "/")),
        ("http://xn--mnchen-3ya.example/", Target("http", "xn--mnchen-3ya.example", 80, "/")),
        ("http://8.8.8.8/", Target("http", "8.8.8.8", 80, "/")),
        ("http://[2606:4700:0:0:0:0:0:0001]/", Target("http", "2606:4700::1", 80, "/")),
        ("http://[::FFFF:8.8.8.8]/", Target("http", "::ffff:808:808", 80, "/")),
        ("http://example.com/@:8080//evil.example/", Target("http", "example.com", 80, "/@:8080//evil.example/")),
        ("http://example.com/münchen/{1}|^`<>\"[]'", None),
        ("http://example.com/my photo.jpg", Target("http", "example.com", 80, "/my%20photo.jpg")),
        (
            "http://example.com/a  b/Grüße 1.jpg?q=ä ö",
            Target("http", "example.com", 80, "/a%20%20b/Gr%C3%BC%C3%9Fe%201.jpg?q=%C3%A4%20%C3%B6"),
        ),
        ("http://example.com?a b", Target("http", "example.com", 80, "/?a%20b")),
        ("http://example.com/100% sure.jpg#a b", Target("http", "example.com", 80, "/100%%20sure.jpg")),
        ("http://example.com/a//b c", Target("http", "example.com", 80, "/a//b%20c")),
        ("http://example.com/../../etc/passwd", Target("http", "example.com", 80, "/../../etc/passwd")),
        ("http://example.com/?u=http://127.0.0.1/@", Target("http", "example.com", 80, "/?u=http://127.0.0.1/@")),
    ],
)
def test_parsing(url: str, expected: Target | None) -> None:
    target = parse_url(url)
    if expected is not None:
        mapped = ipaddress.ip_address(expected.host) if ":" in expected.host else None
        assert target == expected or (mapped and ipaddress.ip_address(target.host) == mapped)
    assert target.path.isascii()
    assert target.path.isprintable()
    assert not set(target.path) & set(' \\"<>^`{|}')


@pytest.mark.parametrize(
    ("url", "authority", "origin"),
    [
        ("http://example.com:80/x?y", "example.com", "http://example.com"),
        ("http://example.com:443/x?y", "example.com:443", "http://example.com:443"),
        ("https://[2606::1]:8443/x?y", "[2606::1]:8443", "https://[2606::1]:8443"),
    ],
)
def test_authority_and_origin(url: str, authority: str, origin: str) -> None:
    assert (parse_url(url).authority, parse_url(url).origin) == (authority, origin)


@settings(max_examples=effort(100, 1000))
@given(
    st.one_of(
        st.text(max_size=40),
        st.builds("{}{}".format, st.sampled_from(["http://", "https://", "HTTP:", "//"]), st.text(max_size=30)),
        st.lists(
            st.sampled_from(["http://", "[", "]", ":", "@", "/", "\\", "#", "?", "%", "a.b", "127.0.0.1", "0x7f", "."]),
            max_size=9,
        ).map("".join),
    )
)
def test_any_text_is_parsed_or_refused(url: str) -> None:
    try:
        target = parse_url(url)
    except FetchRefused:
        return
    assert parse_url(f"{target.origin}{target.path}") == target
    target.host.encode("ascii").decode("idna")  # what TLS and resolvers make of it


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/b", "https://example.com/b"),
        ("b?c", "https://example.com/a/b?c"),
        ("?c", "https://example.com/a/x?c"),
        ("//other.example/b", "https://other.example/b"),
        ("https://other.example:443/b#c", "https://other.example/b"),
        ("/münchen", "https://example.com/m%C3%BCnchen"),
        ("/my photo ü.jpg", "https://example.com/my%20photo%20%C3%BC.jpg"),
        ("my photo.jpg?a b", "https://example.com/a/my%20photo.jpg?a%20b"),
        ("//other.example/a b", "https://other.example/a%20b"),
        ("", "https://example.com/a/x"),
    ],
)
def test_redirects(location: str, expected: str) -> None:
    following = parse_redirect(parse_url("https://example.com/a/x"), location)
    assert f"{following.origin}{following.path}" == expected


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://example.com/", "redirect"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://example.com/", "scheme"),
        ("data:image/png;base64,AAAA", "scheme"),
        ("//user@example.com/", "credentials"),
        ("\\\\example.com/", "url"),
        ("/\t/example.com/", "url"),
        ("https://127.1/", "host"),
        ("https://[::1/", "url"),
        ("//[/", "url"),
        ("//other .example/", "url"),
        ("https: //other.example/", "url"),
        ("https://other.example /b", "url"),
        (" /b", "url"),
    ],
)
def test_redirects_refused(location: str, reason: str) -> None:
    with pytest.raises(FetchRefused) as caught:
        parse_redirect(parse_url("https://example.com/a/x"), location)
    assert caught.value.reason == reason


def test_http_may_redirect_to_https() -> None:
    assert parse_redirect(parse_url("http://example.com/"), "https://example.com/").scheme == "https"


# --- the allow-list


def test_allow_lists_are_sorted() -> None:
    allowed = parse_allow_list(["Images.Example", "10.0.0.0/8", "::1", "127.0.0.1", "10.0.0.0/255.0.0.0", "my_host"])
    assert allowed.hosts == {"images.example", "my_host"}
    assert [str(network) for network in allowed.networks] == ["10.0.0.0/8", "::1/128", "127.0.0.1/32", "10.0.0.0/8"]


@pytest.mark.parametrize(
    "entry",
    [
        *("", " ", "*", "*.example.com", "example.com.", "example.com:80", "http://example.com", "example.com/24"),
        *("10.0.0.1/8", "10.0.0.0/33", "127.1", "0177.0.0.1", "0x7f000001", "2130706433", "1.2.3.4:80", "[::1]"),
        *(
            "::1/129",
            " 10.0.0.1",
            "user@host",
            "-a.example",
            "münchen.example",
            "\uff11\uff12\uff17.0.0.1",
            "a" * 64,
            "a." * 127 + "a",
        ),
        *("::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "a..b", ".a", "a b", "a,b"),
    ],
)
def test_what_is_none_of_host_address_and_range(entry: str) -> None:
    with pytest.raises(InvalidOption, match="allow"):
        parse_allow_list([entry])


@pytest.mark.parametrize(
    ("url", "resolved", "allow", "reason"),
    [
        ("http://h.example/", ["8.8.8.8"], [], None),
        ("http://h.example/", [], [], "address"),
        ("http://h.example/", [], ["h.example"], "address"),
        ("http://h.example/", ["8.8.8.8", "10.0.0.1"], [], "address"),
        ("http://h.example/", ["10.0.0.1", "8.8.8.8"], [], "address"),
        ("http://h.example/", ["8.8.8.8", "::1"], [], "address"),
        ("http://h.example/", ["8.8.8.8", "10.0.0.1"], ["10.0.0.0/8"], None),
        ("http://h.example/", ["8.8.8.8", "10.0.0.1", "192.168.0.1"], ["10.0.0.0/8"], "address"),
        ("http://h.example:8080/", ["10.0.0.1"], ["10.0.0.0/8"], None),
        ("http://h.example:8080/", ["::ffff:10.0.0.1"], ["10.0.0.0/8"], None),
        ("http://h.example:8080/", ["64:ff9b::10.0.0.1"], ["10.0.0.0/8"], "address"),
        ("http://h.example:8080/", ["8.8.8.8", "10.0.0.1"], ["10.0.0.0/8"], "port"),
        ("http://h.example:8080/", ["8.8.8.8"], ["8.8.8.8"], None),
        ("http://h.example:8080/", ["8.8.8.8"], ["10.0.0.0/8"], "port"),
        ("http://h.example:8080/", ["127.0.0.1", "fd00::1", "8.8.8.8"], ["h.example"], None),
        ("http://H.EXAMPLE:8080/", ["127.0.0.1"], ["h.example"], None),
        ("http://sub.h.example/", ["127.0.0.1"], ["h.example"], "address"),
        ("http://xh.example/", ["127.0.0.1"], ["h.example"], "address"),
        ("http://localhost/", ["::1", "127.0.0.1"], ["127.0.0.1"], "address"),
        ("http://localhost/", ["::1", "127.0.0.1"], ["127.0.0.1", "::1"], None),
        ("http://h.example/", ["10.0.0.1"], ["0.0.0.0/0"], None),
        ("http://h.example/", ["fd00::1"], ["0.0.0.0/0"], "address"),
        ("http://h.example/", ["::ffff:127.0.0.1"], ["::/0"], "address"),
    ],
)
def test_addresses_and_the_allow_list(url: str, resolved: list[str], allow: list[str], reason: str | None) -> None:
    allowed = parse_allow_list(allow)
    if reason is None:
        checked = check_addresses(parse_url(url), resolved, allowed)
        assert checked == [address.removeprefix("::ffff:") for address in resolved]
        return
    with pytest.raises(FetchRefused) as caught:
        check_addresses(parse_url(url), resolved, allowed)
    assert caught.value.reason == reason


def test_an_address_is_tried_once() -> None:
    resolved = ["8.8.8.8", "::ffff:8.8.8.8", "8.8.8.8"]
    assert check_addresses(parse_url("http://h.example/"), resolved, AllowList()) == ["8.8.8.8"]


# --- the errors


@pytest.mark.parametrize("kind", [FetchRefused, FetchFailed])
def test_errors_tell_a_class_and_survive_pickling(kind: type[FetchRefused | FetchFailed]) -> None:
    error = kind("too_large")
    assert str(error) == "the URL could not be fetched: too large"
    assert error.reason == "too_large"
    assert isinstance(error, InputError)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own
    assert (type(again), str(again), again.reason) == (kind, str(error), "too_large")
