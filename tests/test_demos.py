"""The demos run, and what they print and draw is what they claim."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from ebm import data
from ebm.data import DataFileError

ROOT = Path(__file__).parents[1]


def run(name: str, out: Path) -> str:
    """The standard output of a quick run; what it wrote lies in `out`."""
    command = [sys.executable, "-W", "error", "-m", f"demos.{name}", "--out", str(out), "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "step/s" in done.stderr  # the progress bar
    return done.stdout


def need(*names: str) -> None:
    if "EBM_DATA" not in os.environ:
        pytest.skip("needs the data sets: set EBM_DATA")
    for name in names:
        try:
            data.load(name)
        except DataFileError as error:
            pytest.skip(f"{name} is not in EBM_DATA: {error}")


def ink(path: Path) -> float:
    """The standard deviation of a picture's gray values: zero for a blank one."""
    return float(imread(path)[:, :, :3].mean(axis=2).std())


def test_digits(tmp_path: Path) -> None:
    printed = run("digits", tmp_path)
    figures = {line[:44].strip(): float(line[44:].split()[0]) for line in printed.splitlines() if line.startswith("  ")}
    assert figures["RBM, one pass up and down"] < 0.5 * figures["mean of the training digits"]
    assert {path.name for path in tmp_path.glob("*.png")} == {"filters.png", "samples.png", "inpainting.png"}
    assert all(ink(path) > 0.1 for path in tmp_path.glob("*.png"))


def test_faces(tmp_path: Path) -> None:
    need("frey-faces", "olivetti-faces")
    run("faces", tmp_path)
    figures = json.loads((tmp_path / "faces.json").read_text())
    for name in ("frey-faces", "olivetti-faces"):
        assert figures[name]["RBM, 12 hidden units, exact"] > figures[name]["mean alone: diagonal Gaussian"] + 20
    assert len(list(tmp_path.glob("*.png"))) == 8


def test_patches(tmp_path: Path) -> None:
    need("cifar10-subset")
    run("patches", tmp_path)
    figures = json.loads((tmp_path / "patches.json").read_text())
    assert figures["RBM, 20 hidden units, exact"] > figures["mean alone: diagonal Gaussian"]
    assert 0.01 < figures["mean activation, 100 sparse units"] < 0.08
    assert ink(tmp_path / "filters.png") > 0.05


def test_topics(tmp_path: Path) -> None:
    need("20news-w100")
    run("topics", tmp_path)
    figures = json.loads((tmp_path / "topics.json").read_text())
    words = {word for topic in figures["topics"] for word in topic["words"]}
    assert len(figures["topics"]) == 50
    assert {"god", "windows", "team"} <= words
    chance = np.mean(np.unique(data.load("20news-w100")[0].labels, return_counts=True)[1] / 10_000)
    assert figures["replicated softmax, 50 units"]["100"] > chance + 0.25


@pytest.mark.data
def test_rbm_mnist_goes_on_where_it_was(tmp_path: Path) -> None:
    """A quick run prints every row; given again it trains nothing anew, and a lost result is computed from its checkpoint."""
    need("mnist")
    printed = run("rbm_mnist", tmp_path)
    results = json.loads((tmp_path / "rbm_mnist.json").read_text())
    for name in ("centered", "normal, inverted", "CD-1", "parallel tempering", "best"):
        assert f"{results[name]['test']:.2f}" in printed.split(f"\n{name:28}")[-1].splitlines()[0]
    assert ink(tmp_path / "likelihood-by-time.png") > 0.02
    best = results.pop("best")
    results.pop("CD-1")
    (tmp_path / "rbm_mnist.json").write_text(json.dumps(results))
    command = [sys.executable, "-m", "demos.rbm_mnist", "--out", str(tmp_path), "--quick", "--only", "best"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300, text=True).stdout
    assert f"best: {best['test']:.2f} test nats, {best['seconds']:.0f} s of training" in printed
    again = json.loads((tmp_path / "rbm_mnist.json").read_text())
    assert again["best"] == best
    assert again == results | {"best": best}


@pytest.mark.data
def test_density(tmp_path: Path) -> None:
    need("nltcs", "plants", "dna", "caltech101-silhouettes")
    printed = run("density", tmp_path)
    results = json.loads((tmp_path / "density.json").read_text())
    assert results["nltcs"]["ln Z"] == "exact"
    for name in ("nltcs", "plants", "caltech101-silhouettes"):
        assert results[name]["test"] > results[name]["independent units"] + 5 * results[name]["standard error"]
        assert f"{results[name]['test']:10.3f}" in printed


def test_dbm_mnist(tmp_path: Path) -> None:
    need("mnist")
    printed = run("dbm_mnist", tmp_path)
    results = json.loads((tmp_path / "dbm_mnist.json").read_text())
    for name in ("DBN 500-2000", "DBM 500-1000"):
        found = results[name]
        # what independent pixels reach on these digits, and what nobody does
        assert -210 < found["test"] < -80
        assert found["tightness"] > 0
        assert any(line.startswith(name) and f"{found['test']:.2f}" in line for line in printed.splitlines())
    assert results["DBN 500-2000"]["test"] > results["DBN 500-2000"]["first RBM"]
    assert len(list(tmp_path.glob("*.png"))) == 8
    assert all(ink(path) > 0.05 for path in tmp_path.glob("*.png"))
    assert "NOT CERTIFIED" in printed or all(results[name]["certified"] for name in ("DBN 500-2000", "DBM 500-1000"))


def test_optimizers(tmp_path: Path) -> None:
    need("mnist")
    run("optimizers", tmp_path)
    results = json.loads((tmp_path / "optimizers.json").read_text())
    assert results["Adam, cross-entropy"]["accuracy"] > 80
    assert ink(tmp_path / "optimizers.png") > 0.02


def test_deep_autoencoder(tmp_path: Path) -> None:
    need("mnist", "olivetti-faces")
    run("deep_autoencoder", tmp_path)
    results = json.loads((tmp_path / "deep_autoencoder.json").read_text())
    assert 10 < results["PCA"] < 20
    assert results["fine-tuned"] < 52  # of the mean digit
    assert results["faces, PCA"] < 0.5 * 625
    assert {path.name for path in tmp_path.glob("*.png")} == {"digits.png", "faces.png", "codes.png", "pca.png"}
    assert all(ink(path) > 0.02 for path in tmp_path.glob("*.png"))


def test_denoising(tmp_path: Path) -> None:
    need("mnist")
    run("denoising", tmp_path)
    results = json.loads((tmp_path / "denoising.json").read_text())
    for noise in ("Gaussian noise", "half of the pixels missing", "a third of the pixels wrong"):
        assert results[noise]["autoencoder"] < results[noise]["noisy"]
    assert results["stacked, denoising"]["test error, %"] < 90
    assert len(list(tmp_path.glob("*.png"))) == 8
    assert all(ink(path) > 0.02 for path in tmp_path.glob("*.png"))


def test_pretraining(tmp_path: Path) -> None:
    need("mnist")
    run("pretraining", tmp_path)
    results = json.loads((tmp_path / "pretraining.json").read_text())
    for start in ("random weights", "belief network", "deep Boltzmann machine", "denoising autoencoders"):
        assert np.mean(results[f"{start}, 1000 labels"]["test errors, %"]) < 90
        tried = results[f"{start}, 1000 labels"]["validation errors, %"]
        chosen = results[f"{start}, 1000 labels"]["dropout of inputs and hidden units"]
        assert len(tried) == 2
        assert tried[str(tuple(chosen))] == min(tried.values())
    assert ink(tmp_path / "errors.png") > 0.02


def test_anomaly(tmp_path: Path) -> None:
    need("mammography", "musk", "pendigits", "satellite", "shuttle", "thyroid", "cardio")
    run("anomaly", tmp_path)
    results = json.loads((tmp_path / "anomaly.json").read_text())
    assert results["shuttle"]["IsolationForest"][0] > 0.95
    assert results["cardio"]["reconstruction error"][0] > 0.6
    assert results["cardio"]["free energy"][0] > 0.6
    assert all(ink(path) > 0.02 for path in tmp_path.glob("*.png"))


def test_vae(tmp_path: Path) -> None:
    need("mnist", "frey-faces")
    printed = run("vae", tmp_path)
    results = json.loads((tmp_path / "vae.json").read_text())
    # what independent pixels reach on these digits, and what nobody does; more codes make a tighter bound
    assert 80 < results["k = 1"]["nats"] < results["k = 1"]["bound of one sample"] < 210
    assert results["gray levels"]["nats"] < 300
    assert f"{results['k = 50']['nats']:.2f}" in printed.split("\nk = 50")[-1].splitlines()[0]
    assert len(list(tmp_path.glob("*.png"))) == 7
    assert all(ink(path) > 0.02 for path in tmp_path.glob("*.png"))


def test_gan(tmp_path: Path) -> None:
    need("mnist")
    run("gan", tmp_path)
    results = json.loads((tmp_path / "gan.json").read_text())
    assert results["training digits"]["Parzen"] > results["dense"]["Parzen"] + 20
    assert results["training digits"]["Fréchet distance"] < 0.3 * results["DCGAN"]["Fréchet distance"]
    assert results["training digits"]["recall"] > 0.5
    assert {path.name for path in tmp_path.glob("*.png")} >= {"dense-samples.png", "dcgan-samples.png"}
