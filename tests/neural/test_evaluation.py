"""Evaluation against truth: known densities and distances, planted collapse and blur, separable codes, tests under their null."""

import hashlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.sparse import csr_matrix
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import binom, multivariate_normal
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ebm import DBM, DBN, RBM, data
from neural import GAN, VAE, Autoencoder, Classifier, evaluation
from neural.evaluation import FeatureSpace, distances
from neural.layers import Dense, Sigmoid
from neural.training import Minibatches

TRAIN, VALIDATION, TEST = data.load("digits")


def normal(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture
def blocks(monkeypatch):
    """Set how many rows meet at once."""
    return lambda size: monkeypatch.setattr(distances, "_BLOCK", size)


# what is streamed


@pytest.mark.parametrize("size", [1, 7, 50])
def test_block_sizes_change_no_result(size, blocks):
    rows, samples = normal(23, 4), normal(31, 4, seed=2)

    def measure():
        found = [
            evaluation.squared_error(rows, samples[:23]),
            *evaluation.parzen(samples, rows, 0.3),
            *evaluation.precision_recall(rows, samples),
        ]
        return [*found, evaluation.parzen_bandwidth(samples, rows, [0.1, 0.6, 3.0])]

    whole = measure()
    blocks(size)
    np.testing.assert_allclose(measure(), whole, rtol=1e-12)
    assert {max(d.shape) for _, _, d in distances.squared_distances(rows, samples)} <= set(range(1, size + 1))


def test_distances_keep_their_digits_far_from_zero():
    rows, samples = normal(6, 5) + 1e6, normal(8, 5, seed=2) + 1e6
    ((_, _, found),) = distances.squared_distances(rows, samples)
    np.testing.assert_allclose(found, cdist(rows, samples, "sqeuclidean"), rtol=1e-8)
    assert all((d >= 0).all() for _, _, d in distances.squared_distances(rows, rows))


# squared error


def test_squared_error_is_summed_over_pixels_and_averaged_over_rows():
    rows, back = TEST.images, np.roll(TEST.images, 1, axis=1)
    expected = ((rows.astype(float) - back) ** 2).sum() / len(rows)
    assert evaluation.squared_error(rows, back) == pytest.approx(expected, rel=1e-12)
    assert evaluation.squared_error(csr_matrix(rows), back) == pytest.approx(expected, rel=1e-12)
    pixels = np.array([[0, 255]], np.uint8)
    assert evaluation.squared_error(pixels, pixels[:, ::-1]) == 2 * 255**2


# Parzen windows


def test_windows_around_one_sample_are_its_gaussian():
    sample, rows = normal(1, 6), normal(40, 6, seed=2)
    densities = multivariate_normal(sample[0], 0.7**2 * np.eye(6)).logpdf(rows)
    found = evaluation.parzen(sample, rows, 0.7)
    assert found.value == pytest.approx(densities.mean(), rel=1e-12)
    assert found.standard_error == pytest.approx(densities.std(ddof=1) / math.sqrt(40), rel=1e-10)


@pytest.mark.parametrize("bandwidth", [0.01, 0.3, 20.0])
def test_windows_are_the_mean_of_gaussians_even_where_these_underflow(bandwidth, blocks):
    blocks(9)  # the nearest sample is found after others have been added up
    samples, rows = 3 * normal(50, 5), normal(20, 5, seed=2)
    exponents = -cdist(rows, samples, "sqeuclidean") / (2 * bandwidth**2)
    densities = logsumexp(exponents, axis=1) - math.log(50) - 2.5 * math.log(2 * math.pi * bandwidth**2)
    assert evaluation.parzen(samples, rows, bandwidth).value == pytest.approx(densities.mean(), rel=1e-10)


def test_many_windows_converge_to_the_widened_density():
    """Their expectation is the samples' density convolved with the window: N(0, 1 + bandwidth^2)."""
    rows, bandwidth = normal(200, 2, seed=2), 0.5
    expected = multivariate_normal(np.zeros(2), (1 + bandwidth**2) * np.eye(2)).logpdf(rows).mean()
    errors = [abs(evaluation.parzen(normal(n, 2), rows, bandwidth).value - expected) for n in (30, 20_000)]
    assert errors[1] < 0.01 < errors[0]


def test_the_bandwidth_is_the_best_on_validation_rows():
    samples, validation = normal(100, 3), normal(60, 3, seed=2)
    candidates = np.geomspace(0.05, 5, 10)
    scores = [evaluation.parzen(samples, validation, h).value for h in candidates]
    best = evaluation.parzen_bandwidth(samples, validation, candidates)
    assert best == candidates[np.argmax(scores)]
    assert best not in candidates[[0, -1]]
    np.testing.assert_allclose(evaluation.BANDWIDTHS, 10 ** np.linspace(-1, 0, 10), rtol=1e-12)


def test_a_bandwidth_at_the_edge_is_said():
    samples, validation = normal(100, 3), normal(60, 3, seed=2)
    with pytest.warns(
        UserWarning, match=r"best bandwidth is 0.1, at the edge of the candidates from 0.01 to 0.1; a larger one"
    ):
        assert evaluation.parzen_bandwidth(samples, validation, [0.1, 0.01]) == 0.1
    with pytest.warns(UserWarning, match="a smaller one may be better"):
        evaluation.parzen_bandwidth(samples, validation, [5.0, 10.0])
    assert evaluation.parzen_bandwidth(samples, validation, [0.1]) == 0.1


# Fréchet distance


def with_moments(mean, covariance, count=60, seed=1):
    """Rows with exactly these moments."""
    x = normal(count, len(mean), seed=seed)
    x -= x.mean(axis=0)
    x = np.linalg.solve(np.linalg.cholesky(np.cov(x, rowvar=False)), x.T).T
    return x @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_of_independent_features():
    a, b, shift = np.array([1.0, 4.0, 9.0]), np.array([1.0, 1.0, 0.25]), np.array([0.0, 1.0, -2.0])
    rows, samples = with_moments(np.zeros(3), np.diag(a)), with_moments(shift, np.diag(b), 80, seed=2)
    expected = ((np.sqrt(a) - np.sqrt(b)) ** 2).sum() + (shift**2).sum()
    assert evaluation.frechet_distance(rows, samples) == pytest.approx(expected, rel=1e-10)


def test_frechet_distance_by_the_square_root_of_the_product():
    one, other = (x @ x.T for x in (normal(5, 5), normal(5, 5, seed=2)))
    rows, samples = with_moments(np.ones(5), one), with_moments(np.zeros(5), other, seed=2)
    expected = 5 + np.trace(one + other - 2 * sqrtm(one @ other).real)
    assert evaluation.frechet_distance(rows, samples) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_does_not_depend_on_the_axes():
    rows, samples = normal(100, 6), normal(90, 6, seed=2) @ normal(6, 6, seed=3)
    found = evaluation.frechet_distance(rows, samples)
    rotation = np.linalg.qr(normal(6, 6, seed=4))[0]
    assert evaluation.frechet_distance(rows @ rotation + 7, samples @ rotation + 7) == pytest.approx(found, rel=1e-9)
    assert evaluation.frechet_distance(samples, rows) == pytest.approx(found, rel=1e-9)
    assert evaluation.frechet_distance(3 * rows, 3 * samples) == pytest.approx(9 * found, rel=1e-9)


def test_frechet_distance_with_dead_and_doubled_features():
    """Singular covariances: a matrix square root would have an error of the root of rounding, 1e-8."""
    rows = np.hstack([x := normal(50, 4), x[:, :2], np.full((50, 2), 3.0)])
    assert 0 <= evaluation.frechet_distance(rows, rows) < 1e-12
    moved = rows.copy()
    moved[:, -1] += 0.5
    assert evaluation.frechet_distance(rows, moved) == pytest.approx(0.25, rel=1e-9)


# precision and recall


def two_modes(count, seed, modes=(0, 1)):
    centers = 10.0 * np.eye(6)[list(modes)]
    return centers[np.random.default_rng(seed).integers(len(modes), size=count)] + normal(count, 6, seed=seed)


def test_precision_and_recall_against_all_distances():
    rows, samples = normal(40, 3), 0.7 + 1.2 * normal(50, 3, seed=2)
    radius_of_rows, radius_of_samples = (np.sort(cdist(x, x), axis=1)[:, 3] for x in (rows, samples))
    d = cdist(samples, rows)
    expected = (d <= radius_of_rows).any(axis=1).mean(), (d <= radius_of_samples[:, None]).any(axis=0).mean()
    assert evaluation.precision_recall(rows, samples) == pytest.approx(expected)
    assert evaluation.precision_recall(samples, rows) == pytest.approx(expected[::-1])
    assert 0.2 < min(expected) < max(expected) < 1


def test_a_wider_manifold_covers_more():
    rows, samples = normal(40, 5), normal(40, 5, seed=2)
    found = [evaluation.precision_recall(rows, samples, k) for k in (1, 3, 8)]
    assert found[0] < found[1] < found[2]


def test_collapse_costs_recall_and_outliers_cost_precision():
    rows = two_modes(400, 1)
    good = evaluation.precision_recall(rows, two_modes(400, 2))
    assert min(good) > 0.85
    collapsed = evaluation.precision_recall(rows, two_modes(400, 2, modes=(0,)))
    assert collapsed[0] > 0.85
    assert 0.4 < collapsed[1] < 0.6
    blurred = two_modes(400, 2)
    blurred[::2] = 5 + normal(200, 6, seed=3)  # between the modes, where no row is
    assert evaluation.precision_recall(rows, blurred) == pytest.approx((0.5, good[1]), abs=0.07)
    assert evaluation.precision_recall(rows, rows) == (1, 1)
    assert evaluation.precision_recall(rows, rows + 1000) == (0, 0)


# the two-sample test


def test_the_two_sample_test_under_the_null_and_the_alternative():
    p = [evaluation.two_sample_test(normal(60, 4, seed=k), normal(60, 4, seed=1000 + k), seed=k).p_value for k in range(60)]
    assert 0.35 < np.mean(p) < 0.7
    assert np.mean(np.array(p) < 0.2) < 0.4
    assert min(p) < 0.3
    found = evaluation.two_sample_test(normal(200, 4), 1 + normal(200, 4, seed=2))
    assert found.accuracy > 0.75
    assert found.p_value < 1e-8
    # equal means and variances: no linear classifier would notice
    x = normal(400, 2, seed=3)
    correlated = np.stack([x[:, 0], 0.95 * x[:, 0] + math.sqrt(1 - 0.95**2) * x[:, 1]], axis=1)
    assert evaluation.two_sample_test(normal(400, 2, seed=4), correlated).p_value < 1e-3


def test_the_p_value_is_that_of_guessing():
    rows, samples = normal(81, 3), normal(50, 3, seed=2) + 0.4
    found = evaluation.two_sample_test(rows, samples, seed=5)
    assert found.cases == 50
    assert found.p_value == pytest.approx(binom.sf(round(found.accuracy * 50) - 1, 50, 0.5), rel=1e-9)
    assert evaluation.two_sample_test(rows, samples, seed=5) == found
    scaled, moved = (x * [1e3, 1.0, 1e-3] - 50 for x in (rows, samples))
    assert evaluation.two_sample_test(scaled, moved, seed=5).accuracy == pytest.approx(found.accuracy, abs=0.021)
    with_constant = [np.hstack([x, np.ones((len(x), 1))]) for x in (rows, samples)]
    assert 0 <= evaluation.two_sample_test(*with_constant).p_value <= 1
    assert str(found) == f"accuracy {found.accuracy:.3f} (p = {found.p_value:.2g}, 50 held-out cases)"


# codes


def test_dead_units_are_not_active():
    codes = normal(2000, 5) * [1, 0.2, 0.11, 0.08, 0] + 100
    np.testing.assert_array_equal(evaluation.active_units(codes.astype(np.float32)), [True, True, True, False, False])
    assert evaluation.active_units(codes, threshold=0.005).sum() == 4


def labeled(count, seed, width=8, classes=4):
    """Codes whose first columns say the class linearly."""
    labels = np.random.default_rng(seed).integers(classes, size=count)
    return normal(count, width, seed=seed) + 12 * np.eye(width)[labels], labels


def test_probes_of_separable_and_of_empty_codes():
    train, test = labeled(300, 1), labeled(200, 2)
    assert evaluation.linear_probe(*train, *test) == 1
    assert evaluation.nearest_neighbors(*train, *test) == 1
    assert evaluation.few_labels(*train, *test, per_class=3, draws=3).value > 0.9
    noise, held = (normal(300, 3), train[1]), (normal(200, 3, seed=2), test[1])
    for probe in (evaluation.linear_probe, evaluation.nearest_neighbors):
        assert 0.12 < probe(*noise, *held) < 0.38


def test_what_is_not_linear_is_for_neighbors():
    codes, test = normal(400, 2), normal(400, 2, seed=2)
    labels, test_labels = (np.where(x[:, 0] * x[:, 1] > 0, "same", "different") for x in (codes, test))
    assert evaluation.linear_probe(codes, labels, test, test_labels) < 0.65
    assert evaluation.nearest_neighbors(codes, labels, test, test_labels) > 0.9
    assert evaluation.nearest_neighbors(codes, labels, test, test_labels, neighbors=399) < 0.65


@pytest.mark.parametrize("probe", [evaluation.linear_probe, evaluation.nearest_neighbors, evaluation.few_labels])
def test_the_scale_of_codes_does_not_matter(probe):
    (codes, labels), (test, test_labels) = (
        (x + 6 * normal(*x.shape, seed=3), y) for x, y in (labeled(200, 1), labeled(200, 2))
    )
    scale = np.geomspace(1e-3, 1e3, 8)
    found = probe(codes, labels, test, test_labels)
    assert probe(codes * scale + 5, labels, test * scale + 5, test_labels) == pytest.approx(found, abs=1e-9)
    assert 0.3 < np.mean(found[0] if isinstance(found, tuple) else found) < 0.95
    dead = [np.hstack([x, np.full((len(x), 1), 0.1, x.dtype)]) for x in (codes, test)]
    assert probe(dead[0], labels, dead[1], test_labels) == pytest.approx(found, abs=1e-9)


def test_the_penalty_of_the_probe_is_the_stated_one():
    codes, labels = labeled(60, 1, width=30)
    codes, test = codes + 8 * normal(60, 30, seed=3), 12 * np.eye(30)[labeled(400, 2)[1]] + 8 * normal(400, 30, seed=4)
    held = test, labeled(400, 2)[1]
    expected = {
        C: make_pipeline(StandardScaler(), LogisticRegression(C=C)).fit(codes, labels).score(*held) for C in (0.1, 1, 10)
    }
    assert evaluation.linear_probe(codes, labels, *held) == expected[1]
    assert len(set(expected.values())) == 3


def test_more_labels_tell_more():
    pixels = TRAIN.images, TRAIN.labels, TEST.images, TEST.labels
    few, more = (evaluation.few_labels(*pixels, per_class=n, draws=4) for n in (1, 20))
    assert few.value + 3 * few.standard_error < more.value < evaluation.linear_probe(*pixels)
    assert evaluation.few_labels(*pixels, per_class=1, draws=4) == few
    assert evaluation.few_labels(*pixels, per_class=1, draws=4, seed=2) != few
    smallest = np.bincount(TRAIN.labels).min()
    balanced = np.concatenate([np.flatnonzero(TRAIN.labels == label)[:smallest] for label in range(10)])
    everything = TRAIN.images[balanced], TRAIN.labels[balanced], TEST.images, TEST.labels
    # each draw has all codes
    found = evaluation.few_labels(*everything, per_class=smallest, draws=2)
    assert found == pytest.approx((evaluation.linear_probe(*everything), 0), abs=0.004)


def test_a_measured_number_is_printed_to_its_errors_second_digit():
    assert str(evaluation.Measured(0.93712, 0.00421)) == "0.9371 ± 0.0042"
    assert str(evaluation.Measured(-1234.5, 35.2)) == "-1234 ± 35"
    assert str(evaluation.Measured(0.5, 0.0)) == "0.5000 ± 0.0000"


# the feature space


@pytest.fixture(scope="module")
def space():
    return FeatureSpace.train(
        TRAIN.images, TRAIN.labels, TRAIN.shape, features=32, device="cpu", seed=1, epochs=12, batch_size=20
    )


def test_the_feature_space_is_that_of_a_classifier_that_reads(space):
    assert space.classifier.score(TEST.images, TEST.labels) > 0.9
    features = space(TEST.images)
    assert features.shape == (len(TEST), space.features) == (len(TEST), 32)
    assert (features >= 0).all()
    top = space.classifier.network.layers[-1].own
    np.testing.assert_array_equal(
        (features @ top["weights"] + top["bias"]).argmax(axis=1), space.classifier.predict(TEST.images)
    )


def test_the_hash_is_that_of_the_file(space, tmp_path):
    space.save(path := tmp_path / "space.safetensors")
    loaded = FeatureSpace.load(path, device="cpu")
    assert loaded.sha256 == space.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_array_equal(loaded(TEST.images), space(TEST.images))
    loaded.save(again := tmp_path / "again.safetensors")
    assert again.read_bytes() == path.read_bytes()
    assert space.sha256[:8] in repr(space)


def test_a_classifier_that_learns_on_does_not_move_the_space():
    classifier = Classifier([64, 12], 10, activation="relu", device="cpu", seed=1)
    space = FeatureSpace(classifier)
    before = space(TEST.images)
    classifier.fit(TRAIN.images, TRAIN.labels, epochs=1)
    np.testing.assert_array_equal(space(TEST.images), before)
    assert FeatureSpace(classifier).sha256 != space.sha256


def test_comparisons_name_their_space_and_order_models(space):
    held = np.concatenate([VALIDATION.images, TEST.images])
    good = space.compare(TRAIN.images[:600], held)
    noise = np.random.default_rng(1).permuted(held, axis=1)
    bad = space.compare(TRAIN.images[:600], noise)
    ones = space.compare(TRAIN.images[:600], TRAIN.images[TRAIN.labels == 1])
    assert good.frechet_distance < 0.2 * min(bad.frechet_distance, ones.frechet_distance)
    assert min(good.precision, good.recall) > 0.8
    assert max(bad.precision, bad.recall) < 0.4
    assert ones.precision > 0.9
    assert ones.recall < 0.2
    assert (good.rows, good.samples, good.sha256) == (600, 600, space.sha256)
    features = space(TRAIN.images[:600]), space(held)
    assert good.frechet_distance == evaluation.frechet_distance(*features)
    assert (good.precision, good.recall) == evaluation.precision_recall(*features)
    assert str(good) == (
        f"Fréchet distance {good.frechet_distance:.2f}, precision {good.precision:.3f}, recall {good.recall:.3f} "
        f"(600 samples, 600 rows, feature space {space.sha256[:8]})"
    )


def test_colors_have_channels_and_the_recipe_has_settings(monkeypatch):
    seen = []
    batch = Minibatches.batch
    monkeypatch.setattr(Minibatches, "batch", lambda self, epoch, index: seen.append(epoch) or batch(self, epoch, index))
    images = np.random.default_rng(1).random((40, 8 * 12 * 3))
    space = FeatureSpace.train(images, np.arange(40) % 2, (8, 12, 3), batch_size=40, device="cpu")
    assert set(seen) == set(range(5))
    assert space.classifier.network.layers[0].shape == (8, 12, 3)
    assert space(images).shape == (40, 64)


# the protocol


def test_models_say_what_they_can_do():
    small = {"device": "cpu"}
    for model in (RBM(6, 4, **small), DBN([6, 4, 3], **small), DBM([6, 4, 3], **small)):
        assert isinstance(model, evaluation.Samples)
        assert isinstance(model, evaluation.Reconstructs)
        assert not isinstance(model, evaluation.Scores)
        assert model.sample(3, seed=1).shape == (3, 6)
    autoencoder = Autoencoder([6, 4], **small)
    assert isinstance(autoencoder, evaluation.Encodes)
    assert isinstance(autoencoder, evaluation.Reconstructs)
    assert not isinstance(autoencoder, evaluation.Samples)
    everything = evaluation.Samples, evaluation.Encodes, evaluation.Reconstructs, evaluation.Scores
    vae = VAE([6, 4], latent=2, **small)
    assert all(isinstance(vae, protocol) for protocol in everything)
    assert [x.shape for x in vae.log_likelihood(np.eye(6, dtype=np.float32), samples=2)] == [(6,), (6,)]
    gan = GAN([Dense(6), Sigmoid()], [Dense(1)], latent=2, inputs=6, **small)
    assert [isinstance(gan, protocol) for protocol in everything] == [True, False, False, False]


def test_importing_loads_no_scikit_learn():
    code = "import sys, neural.evaluation; assert not {'sklearn', 'matplotlib'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# bad input

X, LABELS = normal(10, 3), np.arange(10) % 2
MISSING = np.where(np.eye(10, 3) > 0, np.nan, X)


@pytest.mark.parametrize(
    ("act", "match"),
    [
        (lambda: evaluation.squared_error(X, X[:, :2]), "reconstructions has shape .* 2 columns; expected 3"),
        (lambda: evaluation.squared_error(X, X[:4]), "found 10 rows and 4 reconstructions; expected one for each row"),
        (lambda: evaluation.squared_error(X, MISSING), r"reconstructions\[0, 0\] is nan"),
        (lambda: evaluation.squared_error(X.tolist(), X), "rows is a list; expected a NumPy array"),
        (lambda: evaluation.parzen(X, X[:, :2], 1.0), "rows has shape .* 2 columns; expected 3"),
        (lambda: evaluation.parzen(MISSING, X, 1.0), r"samples\[0, 0\] is nan"),
        (lambda: evaluation.parzen(X, X[:1], 1.0), "rows: found 1 row; expected at least 2"),
        (lambda: evaluation.parzen(X, X, 0.0), r"found bandwidths \[0.0\]; expected positive numbers"),
        (lambda: evaluation.parzen(X, X, math.nan), r"found bandwidths \[nan\]"),
        (lambda: evaluation.parzen_bandwidth(X, X, []), r"found bandwidths \[\]; expected positive numbers, at least one"),
        (lambda: evaluation.parzen_bandwidth(X, MISSING), r"validation\[0, 0\] is nan"),
        (
            lambda: evaluation.frechet_distance(normal(10, 10), normal(40, 10)),
            r"found 10 rows of 10 features; expected at least 11.*take more rows, .*features=2",
        ),
        (lambda: evaluation.frechet_distance(X, X[:3]), "found 3 samples of 3 features; expected at least 4"),
        (lambda: evaluation.frechet_distance(X, X[:, :2]), "samples has shape .* 2 columns; expected 3"),
        (lambda: evaluation.frechet_distance(MISSING, X), r"rows\[0, 0\] is nan"),
        (lambda: evaluation.precision_recall(X, X[:3]), "samples: found 3 rows; expected at least 4"),
        (lambda: evaluation.precision_recall(X[:5], X, 5), "rows: found 5 rows; expected at least 6"),
        (lambda: evaluation.precision_recall(X, X, 0), "neighbors=0; expected a whole number of at least 1"),
        (lambda: evaluation.precision_recall(X, X[:, :2]), "samples has shape .* 2 columns; expected 3"),
        (lambda: evaluation.two_sample_test(X, X[:3]), "samples: found 3 rows; expected at least 4"),
        (lambda: evaluation.two_sample_test(X, X[:, :2]), "samples has shape .* 2 columns; expected 3"),
        (lambda: evaluation.two_sample_test(MISSING, X), r"rows\[0, 0\] is nan"),
        (lambda: evaluation.two_sample_test(csr_matrix(X), X), r"rows is a csr_matrix; expected a NumPy array"),
        (lambda: evaluation.active_units(X[:1]), "codes: found 1 row; expected at least 2"),
        (lambda: evaluation.active_units(MISSING), r"codes\[0, 0\] is nan"),
        (lambda: evaluation.linear_probe(X, LABELS[:9], X, LABELS), r"found labels of shape \(9,\) for 10 codes"),
        (lambda: evaluation.linear_probe(X, LABELS, X, LABELS[:9]), r"found labels of shape \(9,\) for 10 test_codes"),
        (lambda: evaluation.linear_probe(X, LABELS, X[:, :2], LABELS), "test_codes has shape .* 2 columns; expected 3"),
        (lambda: evaluation.linear_probe(X, LABELS, MISSING, LABELS), r"test_codes\[0, 0\] is nan"),
        (lambda: evaluation.linear_probe(X, 0 * LABELS, X, LABELS), "found labels of one class, 0; expected at least two"),
        (lambda: evaluation.linear_probe(X, LABELS, X, LABELS + 1), r"found test labels \[2\] that no training code has"),
        (lambda: evaluation.nearest_neighbors(X, LABELS, X, LABELS, 11), "codes: found 10 rows; expected at least 11"),
        (lambda: evaluation.few_labels(X, LABELS, X, LABELS, 6), "found 5 codes of class 0; expected at least per_class=6"),
        (lambda: evaluation.few_labels(X, LABELS, X, LABELS, 2, draws=1), "draws=1; expected a whole number of at least 2"),
        (lambda: FeatureSpace.train(TRAIN.images, TRAIN.labels, (64,)), r"found shape=\(64,\); expected that of images"),
        (
            lambda: FeatureSpace.train(TRAIN.images[:, :60], TRAIN.labels, (6, 10), device="cpu"),
            "(?s)found images 3 x 5 before MaxPool.*crop them",
        ),
        (lambda: FeatureSpace(Classifier([64, 4], 10, device="cpu"))(X), "rows has shape .* 3 columns; expected 64"),
        (
            lambda: FeatureSpace(Classifier([3, 12], 10, device="cpu")).compare(X, X),
            "found 10 rows of 12 features; expected at least 13",
        ),
    ],
)
def test_bad_input(act, match):
    with pytest.raises((ValueError, TypeError), match=match):
        act()
