import numpy as np
import pytest
from PIL import Image

from ebm.data import from_csv, from_folder

RNG = np.random.default_rng(5)


class TestFolder:
    PIXELS = RNG.integers(0, 256, (3, 4, 5, 3), np.uint8)

    @pytest.fixture
    def folder(self, tmp_path):
        for name, pixels in zip(("b.png", "A.BMP", "c.tif"), self.PIXELS, strict=True):
            Image.fromarray(pixels).save(tmp_path / name)
        (tmp_path / "Thumbs.db").write_bytes(b"no image")
        (tmp_path / "readme.txt").write_text("no image")
        (tmp_path / "more.png").mkdir()
        return tmp_path

    def test_color(self, folder):
        rows, shape = from_folder(folder, gray=False)
        assert shape == (4, 5, 3)
        assert rows.dtype == np.float32
        # by file name: A.BMP, b.png, c.tif
        np.testing.assert_array_equal(rows, (self.PIXELS[[1, 0, 2]].reshape(3, -1) / 255).astype(np.float32))

    def test_gray(self, folder):
        rows, shape = from_folder(str(folder))
        assert shape == (4, 5)
        assert rows.shape == (3, 20)
        luma = self.PIXELS[[1, 0, 2]] @ [0.299, 0.587, 0.114] / 255  # ITU-R 601-2
        np.testing.assert_allclose(rows, luma.reshape(3, -1), atol=1 / 255)

    def test_sizes_differ(self, folder):
        Image.new("L", (7, 6)).save(folder / "d.png")
        with pytest.raises(ValueError, match=r"d.png is 6 × 7, but A.BMP is 4 × 5; expected one size: .*shape=\(4, 5\)"):
            from_folder(folder)
        rows, shape = from_folder(folder, shape=(2, 3))
        assert shape == (2, 3)
        assert rows.shape == (4, 6)

    def test_resizing_keeps_the_picture(self, tmp_path):
        picture = np.zeros((40, 60), np.uint8)
        picture[:20, 30:] = 255
        Image.fromarray(picture).save(tmp_path / "quarter.png")
        rows, shape = from_folder(tmp_path, shape=(2, 4), gray=False)
        assert shape == (2, 4, 3)
        expected = np.zeros((2, 4, 3))
        expected[0, 2:] = 1
        np.testing.assert_allclose(rows[0].reshape(shape), expected, atol=0.3)

    def test_damaged_file(self, folder):
        content = (folder / "b.png").read_bytes()
        for broken in (b"", b"nonsense", content[:60]):
            (folder / "b.png").write_bytes(broken)
            with pytest.raises(ValueError, match=r"b.png can't be read as an image: .*; repair it or take it out"):
                from_folder(folder)

    def test_no_images(self, tmp_path):
        (tmp_path / "a.txt").write_text("1")
        with pytest.raises(FileNotFoundError, match=r"holds no images; expected files whose names end in .png"):
            from_folder(tmp_path)
        with pytest.raises(FileNotFoundError, match="missing"):
            from_folder(tmp_path / "missing")

    def test_sixteen_bits(self, tmp_path):
        Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16)).save(tmp_path / "deep.png")
        for gray in (True, False):
            rows, _ = from_folder(tmp_path, gray=gray)
            np.testing.assert_array_equal(np.unique(rows), np.array([0, 100 / 255, 1], np.float32))

    @pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK"])
    def test_modes(self, tmp_path, mode):
        Image.new("RGB", (2, 2), "white").convert(mode).save(tmp_path / "white.tif")
        np.testing.assert_array_equal(from_folder(tmp_path)[0], np.ones((1, 4)))

    def test_pixels_of_unknown_range(self, tmp_path):
        Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "a.tif")
        with pytest.raises(ValueError, match=r"a.tif can't be read as an image: its pixels have mode 'F'"):
            from_folder(tmp_path)

    def test_rotated_by_the_camera(self, tmp_path):
        image = Image.fromarray(np.zeros((2, 3), np.uint8))
        exif = image.getexif()
        exif[0x0112] = 6  # to be turned by 90 degrees
        image.save(tmp_path / "a.png", exif=exif)
        assert from_folder(tmp_path)[1] == (3, 2)


class TestCsv:
    @pytest.fixture
    def write(self, tmp_path):
        def write(text, encoding="utf-8"):
            path = tmp_path / "rows.csv"
            path.write_bytes(text.encode(encoding))
            return path

        return write

    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    @pytest.mark.parametrize("header", ["", "height,width,kind", '"height","width, in m",kind', "\n"])
    def test_numbers(self, write, header, newline):
        lines = [*([header] if header else []), "1,0.1,2", "-1e3,2.5, 3", "", "0,0,0", ""]
        rows, labels = from_csv(write(newline.join(lines)))
        assert rows.dtype == np.float64
        assert rows.tolist() == [[1, 0.1, 2], [-1000, 2.5, 3], [0, 0, 0]]
        assert labels is None

    @pytest.mark.parametrize("label", ["kind", 1, -2])
    def test_labels(self, write, label):
        rows, labels = from_csv(write("a,kind,b\n0.5,3,1\n1.5,0,2\n"), label=label)
        assert rows.tolist() == [[0.5, 1], [1.5, 2]]
        assert labels.dtype == np.int64
        assert labels.tolist() == [3, 0]

    def test_byte_order_mark(self, write):
        assert from_csv(write("1,2\n3,4\n", "utf-8-sig"))[0].tolist() == [[1, 2], [3, 4]]
        assert from_csv(write("a,b\n3,4\n", "utf-8-sig"), label="a")[1].tolist() == [3]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1,2\n3,x\n", r"rows.csv, line 2, column 1: found 'x'; expected a finite number: replace words by numbers"),
            ("a,b\n1,2\n\n3,x\n", r"line 4, column 1 \('b'\): found 'x'"),
            ('a,b\n1,2\n"3\n",x\n', r"line 4, column 1 \('b'\): found 'x'"),
            ("1,2\n,4\n", r"line 2, column 0: found ''; .*: fill in the missing value"),
            ("a,b\n1,2\n3, \n", r"line 3, column 1 \('b'\): found ' '; .*: fill in"),
            ("1,2\n\nnan,4\n", r"line 3, column 0: found 'nan'; expected a finite number"),
            ("1,2\n4,-inf\n", r"line 2, column 1: found '-inf'"),
            ("1,2\n4,1e999\n", r"line 2, column 1: found 'inf'"),
            ("1,b\n2,3\n", r"line 1, column 1: found 'b'; .*: a header has no numbers in it"),
            ("a;b\n1;2\n", r"line 2, column 0 \('a;b'\): found '1;2'; .*: put commas"),
            ("1\t2\n", r"holds no numbers"),
            ("1,2\n3\n", "rows.csv, line 2: found 1 columns; expected 2 as in the first line"),
            ("a,b\n1,2,3\n", "line 2: found 3 columns; expected 2"),
            ("", "rows.csv holds no numbers; expected lines of numbers with commas"),
            ("a,b\n", "rows.csv holds no numbers"),
        ],
    )
    def test_what_is_no_table_of_numbers(self, write, text, message):
        with pytest.raises(ValueError, match=message):
            from_csv(write(text))

    @pytest.mark.parametrize(
        ("text", "label", "message"),
        [
            ("a,b\n1,2\n", "c", r"rows.csv has the columns 'a', 'b'; expected one column called 'c'"),
            ("a,a\n1,2\n", "a", "expected one column called 'a'"),
            ("1,2\n", "a", "rows.csv has no header; expected one column called 'a', or give label as the column's number"),
            ("1,2\n", 2, "rows.csv has 2 columns; expected label from -2 to 1, found 2"),
            ("1,2\n", -3, "found -3"),
            ("a,b\n1,2\n1,2.5\n", "b", r"line 3, column 1 \('b'\): found the label 2.5; expected a whole number"),
            ("a,b\n1,2\n1,2.5\n", -1, r"line 3, column 1 \('b'\): found the label 2.5; expected a whole number"),
        ],
    )
    def test_wrong_labels(self, write, text, label, message):
        with pytest.raises(ValueError, match=message):
            from_csv(write(text), label=label)
