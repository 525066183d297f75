import numpy as np
import pytest

from ebm.data import bits


@pytest.mark.parametrize("separator", [" ", ","])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 1), (40, 16)])
def test_read(tmp_path, separator, shape):
    expected = np.random.default_rng(1).integers(0, 2, shape, dtype=np.uint8)
    path = tmp_path / "rows.data"
    path.write_bytes("".join(separator.join(map(str, row)) + "\n" for row in expected).encode())
    found = bits.read(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("content", [b"", b"0 1", b"0 1\n0\n", b"0  1\n", b"0 1\r\n"])
def test_lines_of_other_lengths(tmp_path, content):
    (tmp_path / "rows.data").write_bytes(content)
    with pytest.raises(ValueError, match=r"rows.data holds no lines of one length"):
        bits.read(tmp_path / "rows.data")


@pytest.mark.parametrize("line", ["0 2", "0 /", "x 1"])
def test_what_is_no_bit(tmp_path, line):
    (tmp_path / "rows.data").write_text(f"0 1\n{line}\n1 1\n", newline="\n")
    with pytest.raises(ValueError, match=rf"rows.data, line 2: found '{line}\\n'; expected 2 characters 0 or 1"):
        bits.read(tmp_path / "rows.data")


def test_line_end_elsewhere(tmp_path):
    (tmp_path / "rows.data").write_bytes(b"0 1\n0 1 1\n0\n")
    with pytest.raises(ValueError, match="line 2"):
        bits.read(tmp_path / "rows.data")
