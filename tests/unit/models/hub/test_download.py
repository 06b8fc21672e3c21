"""Downloads against a local server that speaks the hub's API, over real connections."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import close_session, try_to_load_from_cache

from modelhost.errors import DownloadFailed, ShuttingDown
from modelhost.models.hub.cache import cached_model, download
from modelhost.models.hub.progress import DownloadSource, FileProgress, StoppableProgress
from modelhost.models.hub.references import HubReference
from tests.support.hub import HubServer, Repository, serve_hub

TOKEN = "hf_for_tests"  # noqa: S105 (opens the stand-in only)
CONTENT = bytes(range(256)) * 8192
REFERENCE = HubReference(repository="org/model")


@pytest.fixture
def hub() -> Iterator[HubServer]:
    files = {"README.md": b"hello", "m-Q4_K_M.gguf": CONTENT, "m-Q8_0.gguf": CONTENT[::-1]}
    with serve_hub(**{"org/model": Repository(files=files)}) as server:
        yield server
        close_session()


@pytest.fixture
def source(hub: HubServer, tmp_path: Path) -> DownloadSource:
    return DownloadSource(endpoint=hub.endpoint, cache_dir=tmp_path / "cache", retry_wait_seconds=0.0)


def test_download_brings_the_usual_file_and_reports_progress(hub: HubServer, source: DownloadSource) -> None:
    steps: list[FileProgress] = []
    path = download(REFERENCE, steps.append, source=source)
    assert path.read_bytes() == CONTENT
    assert path.name == "m-Q4_K_M.gguf"
    assert [step.done_bytes for step in steps] == sorted(step.done_bytes for step in steps)
    assert (steps[-1].done_bytes, steps[-1].total_bytes) == (len(CONTENT), len(CONTENT))


@pytest.mark.promise("llm-server.loading.cache")
def test_second_download_asks_nothing_of_the_network(hub: HubServer, source: DownloadSource) -> None:
    first = download(REFERENCE, source=source)
    before = hub.request_count
    assert download(REFERENCE, source=source) == first
    assert hub.request_count == before


def test_the_vision_encoder_comes_with_a_model_and_is_not_missed_by_one_that_came_before_it(
    source: DownloadSource,
) -> None:
    files = {"see-Q4_K_M.gguf": CONTENT, "mmproj-F16.gguf": CONTENT[:100]}
    with serve_hub(**{"org/model": Repository(files=files)}) as hub:
        path = download(REFERENCE, source=replace(source, endpoint=hub.endpoint))
        close_session()
    encoder = path.with_name("mmproj-F16.gguf")
    assert (path.name, encoder.read_bytes()) == ("see-Q4_K_M.gguf", CONTENT[:100])
    encoder.unlink()
    assert download(REFERENCE, source=source) == path
    assert not encoder.exists()


@pytest.mark.promise("llm-server.loading.cache")
def test_cache_is_the_one_that_other_tools_use(hub: HubServer, source: DownloadSource) -> None:
    path = download(REFERENCE, source=source)
    assert try_to_load_from_cache("org/model", path.name, cache_dir=source.cache_dir) == str(path)


def test_other_file_of_a_cached_repository_is_downloaded(hub: HubServer, source: DownloadSource) -> None:
    download(HubReference(repository="org/model", wanted="Q8_0"), source=source)
    assert download(REFERENCE, source=source).name == "m-Q4_K_M.gguf"


def test_refresh_takes_a_newer_commit(hub: HubServer, source: DownloadSource) -> None:
    download(REFERENCE, source=source)
    hub.repositories["org/model"] = Repository(files={"new.gguf": b"new"}, commit="b" * 40)
    assert download(REFERENCE, source=source, refresh=True).read_bytes() == b"new"


def test_split_model_is_downloaded_whole(hub: HubServer, source: DownloadSource) -> None:
    parts = {f"big-0000{part}-of-00002.gguf": b"%d" % part * 1000 for part in (1, 2)}
    hub.repositories["org/split"] = Repository(files=dict(parts))
    path = download(HubReference(repository="org/split"), source=source)
    assert path.name.startswith("big-00001")
    assert path.with_name("big-00002-of-00002.gguf").is_file()


def test_broken_connection_is_resumed_where_it_ended(hub: HubServer, source: DownloadSource) -> None:
    hub.cut_after = [1_500_000]
    assert download(REFERENCE, source=source).read_bytes() == CONTENT
    assert hub.ranges[0] is None
    assert hub.ranges[1] is not None
    assert hub.bytes_served < len(CONTENT) + 600_000


def test_new_process_fetches_only_the_rest(hub: HubServer, source: DownloadSource) -> None:
    hub.cut_after = [1_048_576]

    def stop(progress: FileProgress) -> None:
        if progress.done_bytes >= 1_048_576:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(REFERENCE, stop, source=source)
    hub.bytes_served = 0
    hub.cut_after = []
    assert download(REFERENCE, source=source).read_bytes() == CONTENT
    assert hub.ranges[-1] == "bytes=1048576-"
    assert hub.bytes_served == len(CONTENT) - 1_048_576


def test_server_errors_are_retried_and_then_reported(hub: HubServer, source: DownloadSource) -> None:
    hub.fail_with = [503, 500]
    assert download(REFERENCE, source=source).read_bytes() == CONTENT
    hub.fail_with = [500] * 5
    with pytest.raises(DownloadFailed, match="answered HTTP 500"):
        download(HubReference(repository="org/model", wanted="Q8_0"), source=source)


def test_damaged_content_is_deleted_and_reported(hub: HubServer, source: DownloadSource) -> None:
    hub.damage = True
    with pytest.raises(DownloadFailed, match="SHA-256"):
        download(REFERENCE, source=source)
    hub.damage = False
    assert download(REFERENCE, source=source).read_bytes() == CONTENT


def test_gated_repository_says_how_to_get_in(hub: HubServer, source: DownloadSource) -> None:
    hub.repositories["org/model"].token = TOKEN
    with pytest.raises(DownloadFailed, match=r"accept its licence at .*/org/model and set HF_TOKEN"):
        download(REFERENCE, source=source)


def test_token_opens_a_gated_repository(hub: HubServer, source: DownloadSource) -> None:
    hub.repositories["org/model"].token = TOKEN
    with_token = DownloadSource(endpoint=source.endpoint, cache_dir=source.cache_dir, token=TOKEN)
    assert download(REFERENCE, source=with_token).read_bytes() == CONTENT


def test_repository_of_a_wrong_owner_gets_a_suggestion(hub: HubServer, source: DownloadSource) -> None:
    with pytest.raises(DownloadFailed, match="did you mean org/model"):
        download(HubReference(repository="other/model"), source=source)


def test_unknown_repository_may_be_private(hub: HubServer, source: DownloadSource) -> None:
    with pytest.raises(DownloadFailed, match=r"private.* HF_TOKEN"):
        download(HubReference(repository="org/zzzzzz"), source=source)


def test_unknown_revision_is_named(hub: HubServer, source: DownloadSource) -> None:
    with pytest.raises(DownloadFailed, match="no revision 'v9'"):
        download(HubReference(repository="org/model", revision="v9"), source=source)


@pytest.mark.parametrize(
    ("status", "says"), [(401, "private"), (403, "check HF_TOKEN"), (429, "too many requests"), (500, "HTTP 500")]
)
def test_refusals_say_the_way_out(status: int, says: str, hub: HubServer, source: DownloadSource) -> None:
    hub.fail_api_with = status
    with pytest.raises(DownloadFailed, match=says):
        download(HubReference(repository="org/zzzzzz"), source=source)


def test_safetensors_repository_becomes_a_directory(hub: HubServer, source: DownloadSource) -> None:
    files = {"model.safetensors": b"1", "config.json": b"{}", "tokenizer.json": b"{ }", "README.md": b"hello"}
    hub.repositories["org/hf"] = Repository(files=files)
    for _ in range(2):
        path = download(HubReference(repository="org/hf"), source=source)
        found = {file.name: file.read_bytes() for file in path.iterdir()}
        assert found == {name: content for name, content in files.items() if name != "README.md"}


DIA = {
    "config.json": b'{"model_type": "dia"}',
    "model.safetensors": CONTENT,
    "processor_config.json": b'{"audio_tokenizer": {"audio_tokenizer_name_or_path": "descript/dac_44khz"}}',
}
DAC = {"config.json": b'{"model_type": "dac"}', "model.safetensors": CONTENT[::-1]}


def test_a_dia_comes_with_its_codec_and_is_not_in_the_cache_without_it(hub: HubServer, source: DownloadSource) -> None:
    hub.repositories |= {"org/model": Repository(files=DIA), "descript/dac_44khz": Repository(files=DAC)}
    path = download(REFERENCE, source=source)
    codec = try_to_load_from_cache("descript/dac_44khz", "model.safetensors", cache_dir=source.cache_dir)
    assert isinstance(codec, str)
    assert Path(codec).read_bytes() == CONTENT[::-1]
    requests = hub.request_count
    assert download(REFERENCE, source=source) == path
    assert hub.request_count == requests
    Path(codec).unlink()
    assert cached_model(REFERENCE, source) is None
    assert download(REFERENCE, source=source) == path
    assert Path(codec).is_file()


def test_a_dia_with_its_codec_in_its_folder_needs_no_other(hub: HubServer, source: DownloadSource) -> None:
    hub.repositories["org/model"] = Repository(files=DIA)
    with pytest.raises(DownloadFailed, match="dac_44khz"):
        download(REFERENCE, source=source)
    held = try_to_load_from_cache("org/model", "config.json", cache_dir=source.cache_dir)
    assert isinstance(held, str)
    folder = Path(held).parent / "dac"
    folder.mkdir()
    (folder / "config.json").write_bytes(DAC["config.json"])
    assert download(REFERENCE, source=source) == folder.parent


def test_unreachable_hub_says_check_the_network(tmp_path: Path) -> None:
    nowhere = DownloadSource(endpoint="http://127.0.0.1:9", cache_dir=tmp_path)
    with pytest.raises(DownloadFailed, match="check the network"):
        download(REFERENCE, source=nowhere)


def test_full_disk_is_noticed_before_the_download(
    hub: HubServer, source: DownloadSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(1, 1, 1000)
    monkeypatch.setattr("modelhost.models.hub.transfer.shutil.disk_usage", lambda path: usage)
    with pytest.raises(DownloadFailed, match="make room"):
        download(REFERENCE, source=source)
    assert hub.bytes_served == 0


def test_a_stopped_download_that_gets_nothing_makes_no_further_attempt(hub: HubServer, source: DownloadSource) -> None:
    hub.fail_with = [503] * 4
    progress = StoppableProgress(None)
    progress.stop()
    with pytest.raises(ShuttingDown):
        download(REFERENCE, progress, source=source)
    assert len(hub.fail_with) == 3


def test_parts_that_do_not_fit_together_are_noticed_before_the_first(
    hub: HubServer, source: DownloadSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {f"m-{part:05}-of-00003.gguf": bytes([part]) * 400 for part in (1, 2, 3)}
    hub.repositories["org/parts"] = Repository(files=parts)
    usage = namedtuple("usage", "total used free")(1, 1, 1000)
    monkeypatch.setattr("modelhost.models.hub.transfer.shutil.disk_usage", lambda path: usage)
    with pytest.raises(DownloadFailed, match=r"^The model \(3 files\) needs .*make room") as caught:
        download(HubReference(repository="org/parts"), source=source)
    assert caught.value.details == {"need_bytes": 1200, "free_bytes": 1000}
    assert hub.bytes_served == 0


def test_progress_is_of_all_parts_together(hub: HubServer, source: DownloadSource) -> None:
    parts = {f"m-{part:05}-of-00002.gguf": bytes([part]) * 100 * part for part in (1, 2)}
    hub.repositories["org/parts"] = Repository(files=parts)
    told: list[FileProgress] = []
    download(HubReference(repository="org/parts"), told.append, source=source)
    assert [(step.part, round(step.fraction, 3)) for step in told] == [(1, 0), (1, 0.333), (2, 0.333), (2, 1)]


def test_a_revision_that_leaves_the_cache_is_none(hub: HubServer, source: DownloadSource, tmp_path: Path) -> None:
    path = download(REFERENCE, source=source)
    secret = tmp_path / "secret"
    secret.write_text(hub.repositories["org/model"].commit)
    folder = path.parents[2] / "refs"
    for revision in (str(secret), os.path.relpath(secret, folder)):
        assert (folder / revision).read_text() == "a" * 40
        with pytest.raises(DownloadFailed, match="has no revision"):
            download(replace(REFERENCE, revision=revision), source=source)


def test_names_that_leave_the_cache_are_ignored(hub: HubServer, source: DownloadSource) -> None:
    hub.repositories["org/evil"] = Repository(files={"../../../evil.gguf": b"1"})
    with pytest.raises(DownloadFailed, match="no model in GGUF"):
        download(HubReference(repository="org/evil"), source=source)


_PROGRAM = """
import sys
from modelhost.errors import ModelhostError
try:
    from modelhost.models.hub.cache import download
    from modelhost.models.hub.references import parse_reference
    print(download(parse_reference(sys.argv[1])))
except ModelhostError as error:
    sys.exit(error.message)
"""


def _run(home: Path, model: str, **variables: str) -> subprocess.CompletedProcess[str]:
    given = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment = {key: value for key, value in given.items() if not key.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_HOME": str(home), **variables}
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, model],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_environment_alone_sets_endpoint_home_and_token(variable: str, hub: HubServer, tmp_path: Path) -> None:
    hub.repositories["org/model"].token = TOKEN
    result = _run(tmp_path, "org/model:Q4_K_M", **{"HF_ENDPOINT": hub.endpoint, variable: TOKEN})
    assert result.returncode == 0, result.stderr
    path = Path(result.stdout.strip())
    assert path.is_relative_to(tmp_path / "hub")
    assert path.read_bytes() == CONTENT


DEAD = "127.0.0.1:1"  # nobody listens there


def test_a_hub_on_this_machine_is_reached_without_proxies(hub: HubServer, tmp_path: Path) -> None:
    proxies = {"HTTP_PROXY": f"http://{DEAD}", "ALL_PROXY": "socks4://there"}
    result = _run(tmp_path, "org/model", HF_ENDPOINT=hub.endpoint, **proxies)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HTTP_PROXY": f"http://user:geheim@{DEAD}"}, f"hub.example through the proxy http://{DEAD} (HTTP_PROXY) ("),
        ({"HTTP_PROXY": "socks4://there"}, "could not be downloaded: HTTP_PROXY: socks4://there is no proxy"),
        ({"SSL_CERT_FILE": "/none.pem"}, "could not be downloaded: SSL_CERT_FILE: /none.pem cannot be used"),
        ({"HF_ENDPOINT": "http://[::1"}, "A variable of the hub is set wrong (Invalid IPv6 URL)"),
        ({"HF_HUB_DOWNLOAD_TIMEOUT": "long"}, "A variable of the hub is set wrong (invalid literal"),
    ],
)
def test_what_stands_in_the_way_to_the_hub_is_named(variables: dict[str, str], said: str, tmp_path: Path) -> None:
    result = _run(tmp_path, "org/model", **{"HF_ENDPOINT": "http://hub.example", **variables})
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert "geheim" not in result.stderr


def test_offline_uses_the_cache_and_says_what_is_forbidden(hub: HubServer, tmp_path: Path) -> None:
    offline = _run(tmp_path, "org/model", HF_ENDPOINT=hub.endpoint, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE" in offline.stderr
    assert _run(tmp_path, "org/model", HF_ENDPOINT=hub.endpoint).returncode == 0
    before = hub.request_count
    assert _run(tmp_path, "org/model", HF_ENDPOINT=hub.endpoint, HF_HUB_OFFLINE="1").returncode == 0
    assert hub.request_count == before


def test_a_download_that_is_stopped_ends_at_its_next_step(hub: HubServer, source: DownloadSource) -> None:
    progress = StoppableProgress(lambda _: progress.stop())
    with pytest.raises(ShuttingDown):
        download(REFERENCE, progress, source=source)
