import gzip
import struct

import numpy as np
import pytest

from ebm.data import idx

GOOD = b"\0\0\x08\x03" + struct.pack(">3I", 2, 3, 4) + bytes(range(24))


def write(path, content):
    path.write_bytes(gzip.compress(content))
    return path


def test_read(tmp_path):
    array = idx.read(write(tmp_path / "x.gz", GOOD))
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, np.arange(24).reshape(2, 3, 4))


def test_sizes_are_big_endian(tmp_path):
    content = b"\0\0\x08\x01" + b"\0\0\x01\x02" + bytes(258)
    assert idx.read(write(tmp_path / "x.gz", content)).shape == (258,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:-1], r"23 bytes of data; its header states \(2, 3, 4\): 24"),
        (GOOD + b"\0", "25 bytes of data"),
        (GOOD[:10], "ends within its header: 10 bytes, 3 dimensions need 16"),
        (b"\0\0\x0d" + GOOD[3:], "type 0x0d; expected 0x08"),
        (b"PK" + GOOD[2:], "starts with bytes 50 4b 08 03"),
        (b"", "starts with bytes"),
    ],
    ids=["short", "long", "short header", "doubles", "archive", "empty"],
)
def test_wrong_content(tmp_path, content, message):
    path = write(tmp_path / "x.gz", content)
    with pytest.raises(ValueError, match=message) as caught:
        idx.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [lambda z: z[:-12], lambda z: z[:10] + b"\xff" + z[11:], lambda z: z[:-8] + b"\0" * 4 + z[-4:], lambda z: GOOD],
    ids=["cut off", "undefined block", "wrong checksum", "not compressed"],
)
def test_no_whole_gzip_file(tmp_path, damage):
    path = tmp_path / "x.gz"
    path.write_bytes(damage(gzip.compress(GOOD * 10)))
    with pytest.raises(ValueError, match="no whole gzip file"):
        idx.read(path)
