"""The comparison: its tables say what was measured, it survives failures and stops, and its pages show everything."""

import contextlib
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from demos.compare import compare, depth, measure, models, pictures, report, tables
from demos.compare.__main__ import main
from demos.compare.problem import Clock, problem
from demos.compare.run import Results, tasks
from ebm import RBM, data
from ebm.training import Callback

ROOT = Path(__file__).parents[1]
QUICK = {"budget": 0.05}


class Mean:
    """Every image comes back as the mean of the training images."""

    parameters = 64

    def __init__(self, task):
        self.mean = task.rows.mean(axis=0)

    def encode(self, rows):
        return rows @ self.mean[:, None]

    def reconstruct(self, rows):
        return np.broadcast_to(self.mean, rows.shape)

    def log_likelihood(self, rows):
        p = self.mean.clip(0.01, 0.99)
        return (rows * np.log(p) + (1 - rows) * np.log(1 - p)).sum(axis=1), np.zeros(len(rows))


def broken(task):
    raise RuntimeError("no luck")


def test_figures_of_a_known_model():
    found = compare("digits", models=["mean"], own={"mean": Mean}, **QUICK)
    train, _, test = data.load("digits")
    mean = train.images.mean(axis=0)
    codes, generation = found.tables["codes"]["mean"], found.tables["generation"]["mean"]
    assert codes["squared error"].value == pytest.approx(((test.images - mean) ** 2).sum(axis=1).mean(), rel=1e-5)
    assert codes["denoising"].value == pytest.approx(codes["squared error"].value)
    assert codes["parameters"].value == 64
    bits, p = data.binarize(test.images, seed=1), mean.clip(0.01, 0.99)
    expected = (bits * np.log(p) + (1 - bits) * np.log(1 - p)).sum(axis=1).mean()
    assert generation["log-likelihood"].value == pytest.approx(expected, rel=1e-5)
    assert generation["Fréchet distance"].value is None
    assert generation["Fréchet distance"].note == "it has no method sample"
    assert 10 < codes["linear probe"].value < 60
    assert {"codes", "generation"} == {row["table"] for row in found.rows}


def test_a_model_that_fails_is_reported_and_the_others_go_on():
    found = compare("digits", models=["broken", "PCA"], own={"broken": broken}, **QUICK)
    cell = found.tables["codes"]["broken"]["squared error"]
    assert (str(cell), cell.note) == ("–", "failed: RuntimeError: no luck")
    assert found.tables["codes"]["PCA"]["squared error"].value < 2
    assert {"table": "codes", "model": "broken", "seed": 1, "metric": "failed", "value": "RuntimeError: no luck"} in found.rows


def test_a_comparison_goes_on_where_it_was(tmp_path):
    calls = []

    def counted(task):
        calls.append(task.seed)
        return Mean(task)

    options = {"models": ["mean"], "own": {"mean": counted}, "folder": tmp_path, **QUICK}
    compare("digits", seeds=1, **options)
    before = (tmp_path / "results.jsonl").read_text()
    with open(tmp_path / "results.jsonl", "a") as file:
        file.write('{"table": "codes", "mod')  # a killed run's last line
    compare("digits", seeds=2, **options)
    assert calls == [1] * 6 + [2, 2]  # the first seed also for the memory, twice
    records = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(r["table"], r["seed"]) for r in records] == [("codes", 1), ("generation", 1), ("codes", 2), ("generation", 2)]
    assert (tmp_path / "results.jsonl").read_text().startswith(before)


def test_the_best_is_marked_only_where_it_is_beyond_the_noise():
    def record(model, seed, value):
        return {"table": "codes", "model": model, "seed": seed, "values": {"squared error": value}, "notes": {}}

    clear = [record("a", 1, 1.0), record("a", 2, 1.1), record("b", 1, 2.0), record("b", 2, 2.1)]
    marked = tables.table(clear, "codes")
    assert [marked[m]["squared error"].best for m in "ab"] == [True, False]
    assert str(marked["a"]["squared error"]) == "1.050 ± 0.050"
    assert str(tables.Cell(393_284.0, 0.0, 5)) == "393,284"  # what no seed changes has no error
    assert str(tables.Cell(233.06, 3e-6, 5)) == "233.1"  # nor what a seed changes by rounding
    assert str(tables.Cell(math.nan, math.nan, 5)) == "nan"
    noisy = [record("a", 1, 1.0), record("a", 2, 3.0), record("b", 1, 2.0), record("b", 2, 2.5)]
    assert not any(c["squared error"].best for c in tables.table(noisy, "codes").values())
    alone = [record("a", 1, 1.0), record("b", 1, 2.0)]
    assert not any(c["squared error"].best for c in tables.table(alone, "codes").values())
    doubtful = [r | {"values": r["values"] | {"doubt of the squared error": 0.8}} for r in clear]
    assert not any(c["squared error"].best for c in tables.table(doubtful, "codes").values())
    # of an accuracy the largest is the best
    for r in clear:
        r["values"] = {"linear probe": r["values"]["squared error"]}
    assert tables.table(clear, "codes")["b"]["linear probe"].best


def test_a_clock_ends_a_run_and_makes_schedules():
    seen = []

    class See(Callback):
        def on_step(self, run):
            seen.append((clock.passed, rate(0.0)))

    clock = Clock(0.2)
    rate = clock.line(1.0, 0.5)
    RBM(64, 8, device="cpu", seed=1).fit(data.load("digits")[0].images, epochs=10**6, callbacks=[clock, See()])
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert seen[0][0] < 0.2
    assert seen[-1] == (1.0, 0.5)


def test_training_is_timed_by_the_clock_though_no_epoch_ends():
    def slow(task):
        callbacks = task.watched("training")[1]
        RBM(64, 8, device="cpu", seed=1).fit(task.rows, epochs=10**6, batch_size=1, callbacks=callbacks)
        assert not task.histories["training"].rows
        time.sleep(0.6)
        return Mean(task)

    found = compare("digits", models=["slow"], own={"slow": slow}, budget=0.02)
    assert 0.02 <= found.tables["codes"]["slow"]["training"].value < 0.6


def test_shuffled_squares_keep_their_pixels():
    rows = np.random.default_rng(1).random((5, 64)).astype(np.float32)
    moved = measure.elsewhere(rows, (8, 8))
    np.testing.assert_allclose(np.sort(moved, axis=1), np.sort(rows, axis=1))
    assert (moved != rows).any(axis=1).all()


def test_images_of_ones_own(tmp_path):
    images = np.random.default_rng(1).random((60, 6, 6)).astype(np.float32)
    found = problem(images, seconds=0.1)
    assert (found.width, found.test.shape, len(found.rows)) == (36, (6, 6), 36)
    np.savetxt(tmp_path / "images.csv", images.reshape(60, 36), delimiter=",", fmt="%.4f")
    assert problem(tmp_path / "images.csv").test.shape == (6, 6)
    assert problem(images, labels=np.arange(60) % 3).train.labels.max() == 2
    done = compare(images, models=["PCA", "RBM"], code=3, **QUICK)
    assert done.tables["codes"]["PCA"]["linear probe"].note == "the images have no labels"
    assert done.tables["generation"]["RBM"]["log-likelihood"].value < 0


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: problem(np.full((60, 36), 7.0)), r"values from 7 to 7; .* divide by the largest possible value"),
        (lambda: problem(np.zeros((60, 35))), "no square images"),
        (lambda: problem(np.zeros((10, 36))), "found 10 images; expected 50 or more"),
        (lambda: problem("digits", code=64), "code of 64 numbers for 64 pixels"),
        (lambda: problem("digits", seconds=0), "budget of 0 seconds"),
        (lambda: problem("digit"), "did you mean 'digits'"),
        (lambda: compare("digits", models=["RBN"]), r"found models \['RBN'\]"),
    ],
)
def test_bad_input(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_what_is_to_be_done():
    names = [(t.table, t.model) for t in tasks(None, {"mine": Mean}, None, extras=True)]
    assert ("codes", "mine") in names
    assert ("generation", "mine") in names
    assert ("gallery", "VAE, 20 numbers") in names
    assert ("pretraining", depth.name("halved RBMs", 3)) in names
    assert len(names) == len(set(names))
    assert [t.model for t in tasks(["VAE"], {}, None, extras=True)] == ["VAE"] * 2 + [f"VAE, {n} numbers" for n in (2, 10, 20)]


def test_the_verdict_on_pretraining_is_what_the_figures_say():
    def said(*figures):
        starts = dict(zip(depth.STARTS, figures, strict=True))
        few = depth.label(depth.LABELS[0])
        values = {start: {"squared error": error, few: told} for start, (error, told) in starts.items()}
        records = [{"table": "pretraining", "model": depth.name(s, depth.DEPTHS[-1]), "values": v} for s, v in values.items()]
        return report._verdict(records).split(". And ")

    # random weights, RBMs, halved RBMs, denoising autoencoders, random weights with ELU
    error, told = said((9, 40), (7, 50), (8, 60), (7.5, 55), (6, 58))
    assert "RBMs, reaches 7 and beats" in error
    assert "ELU, 6, do as well or better" in error
    assert "halved RBMs, reaches 60 and beats" in told
    assert "ELU, 58, do not close the gap" in told
    error, told = said((5, 70), (7, 50), (8, 60), (7.5, 55), (9, 65))
    assert "RBMs, reaches 7 and does not beat random weights of logistic units, 5" in error
    assert "ELU, 9, do not close the gap" in error
    assert "reaches 60 and does not beat" in told
    assert "ELU, 65, do as well or better" in told


class Page(HTMLParser):
    """Pictures, links and open tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.images.append(attributes)
        if tag in ("a", "link", "script"):
            self.links.append(attributes.get("href") or attributes.get("src"))
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def command(*arguments):
    full = [sys.executable, "-W", "error", "-m", "demos.compare", *arguments]
    return subprocess.run(full, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("rows", [[], [{"seconds": 2.0, "validation_squared_error": 3.0}]], ids=["no epoch", "an epoch"])
def test_the_picture_of_a_training_that_time_ran_out_of(rows, tmp_path):
    name = depth.name(next(iter(depth.STARTS)), depth.DEPTHS[1])
    record = {
        "table": "pretraining",
        "model": name,
        "values": {},
        "curves": {"RBMs": [{"seconds": 1.0}], "backpropagation": rows},
    }
    figure = pictures.pretraining(SimpleNamespace(records=[record]))["reconstruction"]
    figure.savefig(tmp_path / "picture.png")
    lines = [[line.get_xdata().tolist() for line in axes.lines] for axes in figure.axes]
    assert lines == [[], [[3.0]] if rows else [], *[[]] * (len(depth.DEPTHS) - 2)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a whole comparison of digits, with little time for each model and a small experiment on pretraining."""
    folder, printed = tmp_path_factory.mktemp("compare"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(depth, "DEPTHS", (1, 2))
        patch.setattr(depth, "LABELS", (1, 10))
        patch.setattr(models, "SIZES", (2,))
        patch.setattr(models, "EFFORT", ((50, 10), (50, 10)))
        patch.setattr(sys, "argv", ["compare", "--budget", "0.05", "--out", str(folder)])
        main()
    return folder, printed.getvalue()


def test_the_command_writes_tables_and_pages(written):
    folder, printed = written
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert not [r for r in records if "failed" in r]
    for name in ("RBM", "DBN", "DBM", "deep autoencoder", "contractive autoencoder", "VAE", "GAN"):
        assert re.search(rf"^{name} ", printed, re.MULTILINE)
    lines = (folder / "results.csv").read_text().splitlines()
    assert lines[0] == "table,model,seed,metric,value"
    assert sum(line.startswith("generation,GAN,1,") for line in lines) >= 5
    pages = {name: Page((folder / name).read_text()) for name in ("report.html", "pretraining.html")}
    for page in pages.values():
        assert not page.open
        assert page.images
        assert all(image["alt"] and image["src"].startswith("data:image/png;base64,") for image in page.images)
        assert set(page.links) <= set(pages)
    shown = {image["alt"] for image in pages["report.html"].images}
    assert {f"Filters of {name}" for name in models.CODES} <= shown
    assert {f"Samples of {name}" for name in models.GENERATION if name != "deep autoencoder"} <= shown
    assert {"Map of VAE, 2 numbers", "Plane of VAE, 2 numbers", "Traversals of VAE, 2 numbers"} <= shown
    text = (folder / "report.html").read_text()
    assert "the density of what a generator makes is not known" in text
    assert "certified within" in text or "NOT CERTIFIED" in text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
@pytest.mark.parametrize("name", ["report.html", "pretraining.html"])
@pytest.mark.parametrize("width", [390])
def test_pages_render_in_a_browser(written, tmp_path, name, width):
    """No message in the console, every picture loads, and nothing is wider than the window."""
    text = (written[0] / name).read_text()
    probe = """<script>addEventListener("load", () => {
      const broken = [...document.images].filter(image => !image.naturalWidth);
      const wide = document.documentElement.scrollWidth > innerWidth;
      document.title = `${document.images.length} pictures, ${broken.length} broken, ${wide ? "too wide" : "fits"}`;
    });</script>"""
    text = text.replace(' loading="lazy"', "")
    (tmp_path / name).write_text(text.replace("</body>", probe + "</body>"))
    options = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
    done = subprocess.run(
        [
            "chromium",
            *options.split(),
            "--disable-sync",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},1000",
            "--virtual-time-budget=10000",
            "--dump-dom",
            (tmp_path / name).as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    assert title[1] == f"{text.count('<img ')} pictures, 0 broken, fits"
    assert "CONSOLE" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "mnits"), "did you mean 'mnist'"),
        (("--models", "RBM,foo"), "found models ['foo']"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, arguments, message):
    done = command("--out", str(tmp_path / "out"), *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()  # and the command put right works without --resume


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").touch()
    done = command("--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert re.search(r"found --out .*, File exists; expected a folder that can be written to", done.stderr)


def test_a_folder_with_results_is_gone_on_with_or_left_alone(written):
    before = (written[0] / "results.jsonl").read_text()
    assert "write --resume to go on with it" in command("--budget", "0.05", "--out", str(written[0])).stderr
    other = command("--budget", "0.07", "--out", str(written[0]), "--resume")
    assert "expected the same settings for --resume" in other.stderr
    assert (written[0] / "results.jsonl").read_text() == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_access(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    done = command("--out", str(tmp_path / "closed" / "out"))
    assert done.returncode == 1
    assert "Permission denied" in done.stderr


def test_peak_memory_is_that_of_a_run_after_the_first():
    """What is there once, as the compiler's memory is, is not the model's."""
    calls = []

    def train(task):
        calls.append(np.zeros(10**6 if not calls else 10**5))
        return Mean(task)

    found = compare("digits", models=["mean"], own={"mean": train}, **QUICK)
    assert 0.8 < found.tables["codes"]["mean"]["peak memory"].value < 2


def test_results_from_a_folder_are_in_the_order_of_training(tmp_path):
    results = Results(tmp_path)
    for model in ("c", "a", "b"):
        results.add({"table": "codes", "model": model, "seed": 1}, {"x": np.zeros(2)} if model != "b" else {})
    again = Results(tmp_path)
    assert list(again.arrays) == list(results.arrays) == ["codes-c", "codes-a"]
    assert again.records == results.records


def test_results_without_a_folder_are_kept_in_memory():
    results = Results()
    results.add({"table": "codes", "model": "a", "seed": 1}, {"x": np.zeros(2)})
    assert results.has({"model": "a"})
    assert not results.has({"model": "b"})
    assert list(results.arrays) == ["codes-a"]
