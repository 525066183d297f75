import hashlib
import logging
import logging.handlers
import socket

import pytest

from ebm.data.download import DataFileError, Source, fetch

pooch = pytest.importorskip("pooch", reason="pooch is not installed: no downloads")

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "bytes.gz"


def source(*mirrors):
    return Source(f"set/{NAME}", SHA256, mirrors)


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def dead():
    """The address of a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{probe.getsockname()[1]}/"


# Name: body, declared length (None: no header, the connection's end is the file's end).
BROKEN = {
    "cut off": (CONTENT[:70_000], len(CONTENT)),
    "short": (CONTENT[:70_000], 70_000),
    "short without a length": (CONTENT[:70_000], None),
    "tampered": (CONTENT[:-1] + b"!", len(CONTENT)),
    "empty": (b"", 0),
    "missing": (None, None),
}


@pytest.mark.parametrize("body_and_length", BROKEN.values(), ids=BROKEN)
def test_broken_download_is_named_and_leaves_nothing(mirror, cache, body_and_length):
    body, length = body_and_length
    if body is not None:
        mirror.bodies[NAME], mirror.lengths[NAME] = body, length
    with pytest.raises(DataFileError) as caught:
        fetch(source(mirror.url), cache)
    message = str(caught.value)
    assert NAME in message
    assert mirror.url + NAME in message
    assert SHA256 in message
    if body is None:
        assert "404" in message
    elif length == len(CONTENT) != len(body):
        assert f"70000 bytes read, {length - 70_000} more expected" in message
    else:
        assert hashlib.sha256(body).hexdigest() in message
    assert files(cache) == []

    mirror.bodies[NAME], mirror.lengths[NAME] = CONTENT, len(CONTENT)
    assert fetch(source(mirror.url), cache).read_bytes() == CONTENT


def test_download_is_cached(mirror, cache):
    mirror.bodies[NAME] = CONTENT
    path = fetch(source(mirror.url), cache)
    assert path == cache / "set" / NAME
    assert files(cache) == [path]
    assert fetch(source(mirror.url), cache) == path
    assert mirror.requests == [NAME]


def test_damaged_cache_is_replaced(mirror, cache):
    mirror.bodies[NAME] = CONTENT
    path = fetch(source(mirror.url), cache)
    path.write_bytes(CONTENT[:-1])
    assert fetch(source(mirror.url), cache).read_bytes() == CONTENT
    assert len(mirror.requests) == 2


@pytest.mark.parametrize("body", [None, CONTENT[:-1], CONTENT[1:] + b"!"], ids=["missing", "short", "tampered"])
def test_next_mirror_makes_up_for_a_broken_one(mirror, cache, dead, body):
    if body is not None:
        mirror.bodies[f"broken/{NAME}"] = body
    mirror.bodies[f"good/{NAME}"] = mirror.bodies[f"unused/{NAME}"] = CONTENT
    mirrors = [dead] + [mirror.url + folder for folder in ("broken/", "good/", "unused/")]
    path = fetch(source(*mirrors), cache)
    assert path.read_bytes() == CONTENT
    assert files(cache) == [path]
    assert mirror.requests == [f"broken/{NAME}", f"good/{NAME}"]


def test_all_mirrors_failing_lists_each_with_its_reason(mirror, cache, dead):
    with pytest.raises(DataFileError) as caught:
        fetch(source(dead, mirror.url), cache)
    first, second = (line for line in str(caught.value).splitlines() if line.startswith("  "))
    assert first.startswith(f"  {dead}{NAME}: ")
    assert "404" not in first
    assert second.startswith(f"  {mirror.url}{NAME}: 404")
    assert f"FOLDER/set/{NAME}" in str(caught.value)
    assert "EBM_DATA=FOLDER" in str(caught.value)


def test_unwritable_cache_is_named(mirror, tmp_path):
    mirror.bodies[NAME] = CONTENT
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataFileError, match="file"):
        fetch(source(mirror.url), tmp_path / "file")


def test_nothing_is_printed(mirror, cache, capfd):
    mirror.bodies[NAME] = CONTENT
    logger, heard = pooch.get_logger(), logging.handlers.BufferingHandler(100)
    level = logger.level
    logger.addHandler(heard)
    logger.setLevel("INFO")
    try:
        fetch(source(mirror.url + "none/", mirror.url), cache)
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(level)
        logger.removeHandler(heard)
    assert heard.buffer == []
    assert capfd.readouterr() == ("", "")


def test_mirror_may_be_the_address_of_the_file(mirror, cache):
    mirror.bodies["files/17"] = CONTENT
    path = fetch(source(mirror.url + "files/17"), cache)
    assert path == cache / "set" / NAME
    assert path.read_bytes() == CONTENT


def test_md5_where_nothing_better_is_published(mirror, cache):
    by_md5 = Source(f"set/{NAME}", hashlib.md5(CONTENT).hexdigest(), (mirror.url,))
    mirror.bodies[NAME] = CONTENT[1:]
    with pytest.raises(DataFileError, match=rf"{NAME} \(md5 {by_md5.checksum}\) could not be downloaded"):
        fetch(by_md5, cache)
    mirror.bodies[NAME] = CONTENT
    assert fetch(by_md5, cache).read_bytes() == CONTENT


def test_origin_is_told_to_who_has_to_fetch_it_by_hand(cache):
    with pytest.raises(DataFileError) as caught:
        fetch(Source(f"set/{NAME}", SHA256, (), "part of a set, published at https://example.org"), cache)
    assert (
        f"It is part of a set, published at https://example.org.\nOn a machine without these mirrors, copy the file to FOLDER/set/{NAME}"
        in str(caught.value)
    )


class TestFolder:
    """The folder named by EBM_DATA."""

    @pytest.fixture
    def path(self, tmp_path, monkeypatch, mirror):
        mirror.bodies[NAME] = CONTENT
        monkeypatch.setenv("EBM_DATA", str(tmp_path / "supplied"))
        path = tmp_path / "supplied" / "set" / NAME
        path.parent.mkdir(parents=True)
        return path

    def test_comes_first(self, path, mirror, cache):
        path.write_bytes(CONTENT)
        assert fetch(source(mirror.url), cache) == path
        assert mirror.requests == []

    def test_is_verified(self, path, mirror, cache):
        path.write_bytes(CONTENT[1:])
        with pytest.raises(DataFileError) as caught:
            fetch(source(mirror.url), cache)
        for part in (str(path), SHA256, hashlib.sha256(CONTENT[1:]).hexdigest()):
            assert part in str(caught.value)
        assert mirror.requests == []

    def test_may_lack_the_file(self, path, mirror, cache):
        assert fetch(source(mirror.url), cache) == cache / "set" / NAME

    def test_must_exist(self, path, mirror, cache, monkeypatch):
        monkeypatch.setenv("EBM_DATA", str(path.parent / "misspelled"))
        with pytest.raises(DataFileError, match="misspelled names no folder"):
            fetch(source(mirror.url), cache)

    def test_empty_means_unset(self, path, mirror, cache, monkeypatch):
        path.write_bytes(CONTENT)
        monkeypatch.setenv("EBM_DATA", "")
        assert fetch(source(mirror.url), cache) == cache / "set" / NAME
