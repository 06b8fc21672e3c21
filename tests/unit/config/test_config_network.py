"""What the environment says of proxies and certificates."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelhost.config.network import check_network, is_loopback, proxy_for, require_certificates, through
from modelhost.errors import ConfigError

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    "url", ["http://localhost:1/x", "https://127.0.0.2", "http://[::1]:80", "http://a.LOCALHOST", "http://0.0.0.0:8000"]
)
def test_this_machine_is_reached_without_a_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://proxy:3128")
    assert is_loopback(url)
    assert proxy_for(url) is None
    assert through(url) == ""


@pytest.mark.parametrize(
    "url", ["http://example.com", "http://10.0.0.1", "http://localhost.example.com", "http://[::2]"]
)
def test_other_machines_are_others(url: str) -> None:
    assert not is_loopback(url)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://there.example/mcp", "http://proxy:3128 (HTTPS_PROXY)"),
        ("http://there.example/mcp", "socks5://other:1080 (ALL_PROXY)"),
        ("http://inside.corp", "None"),
        ("http://corp", "None"),
        ("http://10.1.2.3:80", "None"),
        ("http://192.168.7.1", "None"),
        ("http://[fd00::1]:80", "None"),
        ("http://only.example:81", "None"),
        ("http://only.example:80", "socks5://other:1080 (ALL_PROXY)"),
        ("http://notcorp", "socks5://other:1080 (ALL_PROXY)"),
        ("http://11.1.2.3:80", "socks5://other:1080 (ALL_PROXY)"),
    ],
)
def test_a_proxy_is_named_with_its_variable_and_without_its_password(
    url: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "user:geheim@proxy:3128")
    monkeypatch.setenv("ALL_PROXY", "socks5://user:geheim@other:1080")
    monkeypatch.setenv("NO_PROXY", "*.corp, corp, 10.0.0.0/8,192.168.7.1,[fd00::1],only.example:81")
    assert str(proxy_for(url)) == found


def test_no_proxy_may_be_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy")
    monkeypatch.setenv("NO_PROXY", "*")
    assert proxy_for("http://there") is None


def test_a_socks_proxy_takes_the_extra_except_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://user:geheim@there:1080")
    check_network("http://example.com")
    monkeypatch.setitem(sys.modules, "socksio", None)
    check_network("http://127.0.0.1:1/mcp")
    with pytest.raises(ConfigError) as caught:
        check_network("http://example.com")
    assert caught.value.message == 'ALL_PROXY: socks5h://there:1080 takes an extra: pip install "modelhost[socks]"'


@pytest.mark.parametrize("value", ["socks4://there:1", "ftp://there"])
def test_a_proxy_of_another_kind_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", value)
    with pytest.raises(ConfigError, match=f"^HTTP_PROXY: {value} is no proxy that can be used"):
        check_network("https://example.com")


@pytest.mark.parametrize("value", ["::::", "http://", "http://u:p@", "http://there:99999", "http://[::1", "http://:8"])
@pytest.mark.parametrize("url", ["https://example.com", "http://127.0.0.1:8000"])
def test_a_proxy_that_is_no_address_is_named(value: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(ConfigError, match=r"^ALL_PROXY: http://.* is no address"):
        check_network(url)


def test_certificates_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_certificates()
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"^SSL_CERT_DIR: .*none is no folder"):
        require_certificates()
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path / 'none'}:{tmp_path}")
    require_certificates()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=r"^SSL_CERT_FILE: .*none\.pem cannot be used \(No such file"):
        require_certificates()
    (tmp_path / "empty.pem").write_text("nothing")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    with pytest.raises(ConfigError, match=r"^SSL_CERT_FILE: .*empty\.pem cannot be used"):
        check_network("http://example.com")
