"""Signatures of thinking blocks, and the file that holds their key."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from modelhost.http.anthropic.endpoint import KEY_FILE, Signatures
from modelhost.persistence.stored_key import KEY_BYTES

SAID = "The user wants a poem."


@pytest.mark.parametrize("thinking", ["", SAID, "ä 漢 🙂", "\ud83d"])
def test_what_was_signed_is_verified(tmp_path: Path, thinking: str) -> None:
    signatures = Signatures(tmp_path)
    assert signatures.verify(thinking, signatures.sign(thinking))


def test_a_text_that_was_changed_is_refused(tmp_path: Path) -> None:
    signatures = Signatures(tmp_path)
    signature = signatures.sign(SAID)
    assert not signatures.verify(SAID + " ", signature)
    assert not signatures.verify("", signature)


@pytest.mark.parametrize("signature", ["", "mh1.", "mh1.AAAA", "EqQBCkYIBxgC", "ä", "\ud83d"])
def test_a_signature_of_anyone_else_is_refused(tmp_path: Path, signature: str) -> None:
    assert not Signatures(tmp_path).verify(SAID, signature)


def test_a_signature_names_its_version(tmp_path: Path) -> None:
    assert Signatures(tmp_path).sign(SAID).startswith("mh1.")


def test_the_key_is_for_its_owner_alone_and_is_made_when_it_is_first_needed(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    signatures = Signatures(folder)
    assert not folder.exists()
    signatures.sign(SAID)
    key = folder / KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_bytes()) == KEY_BYTES
    assert list(folder.iterdir()) == [key]


def test_hosts_with_the_same_directory_accept_the_blocks_of_each_other(tmp_path: Path) -> None:
    one, other = Signatures(tmp_path), Signatures(tmp_path)
    assert other.verify(SAID, one.sign(SAID))
    assert one.verify(SAID, other.sign(SAID))


def test_hosts_that_begin_at_once_agree_on_one_key(tmp_path: Path) -> None:
    hosts = [Signatures(tmp_path) for _ in range(8)]
    with ThreadPoolExecutor(len(hosts)) as pool:
        assert len(set(pool.map(lambda host: host.sign(SAID), hosts))) == 1
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_hosts_with_directories_of_their_own_refuse_them(tmp_path: Path) -> None:
    assert not Signatures(tmp_path / "b").verify(SAID, Signatures(tmp_path / "a").sign(SAID))


@pytest.mark.parametrize("damage", ["folder", "file", "key"])
def test_a_host_that_cannot_store_a_key_signs_as_long_as_it_lives_and_says_so(tmp_path: Path, damage: str) -> None:
    match damage:
        case "folder":  # a file in its place, which even root cannot write into
            folder = tmp_path / "data"
            folder.write_text("")
        case "file":
            folder = tmp_path
            (folder / KEY_FILE).mkdir()
        case _:
            folder = tmp_path
            (folder / KEY_FILE).write_bytes(b"too short")
    signatures = Signatures(folder)
    with capture_logs() as logs:
        assert signatures.verify(SAID, signatures.sign(SAID))
    (warning,) = logs
    assert (warning["event"], warning["log_level"]) == ("key_not_stored", "warning")
    assert warning["path"] == str(folder / KEY_FILE)
    assert warning["reason"]
    assert not Signatures(folder).verify(SAID, signatures.sign(SAID))
