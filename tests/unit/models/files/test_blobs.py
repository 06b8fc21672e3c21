"""Uploaded files: only complete ones are there, and what nobody uses goes."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from modelhost.errors import DiskFull, InvalidRequest, RequestTooLarge
from modelhost.models.files import blobs as blobs_module
from modelhost.models.files.blobs import UNUSED_SECONDS, BlobStore
from modelhost.models.files.durable import write_atomically

CONTENT = b"GGUF and more"
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
LIMIT = 1000


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "models" / "blobs")


def upload(store: BlobStore, content: bytes = CONTENT, digest: str = DIGEST) -> None:
    with store.upload(digest, limit_bytes=LIMIT) as writing:
        for start in range(0, len(content), 5):
            writing.write(content[start : start + 5])
        writing.publish()


def files(store: BlobStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def test_a_file_is_there_when_all_of_it_has_arrived(store: BlobStore) -> None:
    with store.upload(DIGEST, limit_bytes=LIMIT) as writing:
        writing.write(CONTENT)
        assert not store.has(DIGEST)
        writing.publish()
    assert store.has(DIGEST)
    assert store.path(DIGEST).read_bytes() == CONTENT
    assert files(store) == [DIGEST.replace(":", "-")]


def test_a_file_of_another_digest_is_refused_and_not_kept(store: BlobStore) -> None:
    with pytest.raises(InvalidRequest, match=DIGEST):
        upload(store, b"something else")
    assert files(store) == []


def test_nothing_is_kept_of_an_upload_that_breaks_off(store: BlobStore) -> None:
    with store.upload(DIGEST, limit_bytes=LIMIT) as writing:
        writing.write(CONTENT[:4])
    assert files(store) == []


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:" + "g" * 64, "md5:" + "0" * 64, "sha256:../" + "0" * 61])
def test_a_digest_cannot_be_a_path(store: BlobStore, digest: str) -> None:
    with pytest.raises(InvalidRequest, match="digest"):
        store.path(digest)


def test_a_file_over_the_limit_is_refused_before_and_while_it_arrives(store: BlobStore) -> None:
    with pytest.raises(RequestTooLarge, match="max-blob-gb"):
        store.upload(DIGEST, limit_bytes=LIMIT, expected_bytes=LIMIT + 1)
    with store.upload(DIGEST, limit_bytes=4) as writing, pytest.raises(RequestTooLarge):
        writing.write(CONTENT)
    assert files(store) == []


def test_a_file_that_does_not_fit_on_the_disk_is_refused_before_it_arrives(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 10

    monkeypatch.setattr(blobs_module.shutil, "disk_usage", lambda _folder: Usage)
    with (
        pytest.raises(DiskFull, match="data-dir"),
        store.upload(DIGEST, limit_bytes=LIMIT, expected_bytes=len(CONTENT)),
    ):
        pass


def test_a_disk_that_fills_up_is_told_as_such(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskFull):
        upload(store)
    assert files(store) == []


def test_the_same_file_may_arrive_twice_at_once(store: BlobStore) -> None:
    with store.upload(DIGEST, limit_bytes=LIMIT) as one, store.upload(DIGEST, limit_bytes=LIMIT) as other:
        one.write(CONTENT)
        other.write(CONTENT)
        one.publish()
        other.publish()
    assert files(store) == [DIGEST.replace(":", "-")]


def test_a_file_that_is_uploaded_or_asked_for_again_does_not_change(store: BlobStore) -> None:
    upload(store)
    before = store.path(DIGEST).stat()
    upload(store)
    assert store.has(DIGEST)
    after = store.path(DIGEST).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert files(store) == [DIGEST.replace(":", "-")]


def test_old_files_that_nothing_uses_are_pruned(store: BlobStore) -> None:
    upload(store)
    old = time.time() - UNUSED_SECONDS - 60
    store.prune({})
    assert store.path(DIGEST).is_file()
    os.utime(store.path(DIGEST), (old, old))
    store.prune({DIGEST})
    assert store.path(DIGEST).is_file()
    store.prune(())
    assert not store.path(DIGEST).exists()


def test_a_client_that_asks_for_a_file_keeps_it(store: BlobStore) -> None:
    upload(store)
    old = time.time() - UNUSED_SECONDS - 60
    os.utime(store.path(DIGEST), (old, old))
    assert store.has(DIGEST)
    store.prune(())
    assert store.has(DIGEST)


def test_what_a_crash_has_left_is_pruned_and_an_upload_at_work_is_not(store: BlobStore) -> None:
    with store.upload(DIGEST, limit_bytes=LIMIT) as writing:
        writing.write(CONTENT)
        left = store.folder / f"{DIGEST.replace(':', '-')}-crashed.part"
        left.write_bytes(CONTENT[:3])
        store.prune(())
        assert not left.exists()
        writing.publish()
    assert store.has(DIGEST)


def test_a_file_that_cannot_be_written_leaves_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "record.json"
    write_atomically(path, b"one")

    def fail(*_: Any) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskFull):
        write_atomically(path, b"two")
    assert path.read_bytes() == b"one"
    assert [each.name for each in path.parent.iterdir()] == ["record.json"]
