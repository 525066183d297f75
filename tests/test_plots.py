"""What the pictures show: pixels, bars, lines, points and words, read back from the figures."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex

from ebm import RBM, data, plots
from ebm.compute.device import MixedDevicesError
from ebm.plots import style
from ebm.training import History

SHAPE = (2, 3)
RAMP = np.arange(5 * 6).reshape(5, 6) / 30


def drawn(figure):
    """The figure as pixels, (height, width, 4) in [0, 1]."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    buffer.seek(0)
    return pyplot.imread(buffer)


def tile(figure, line, column, shape=SHAPE, panel=0):
    """The pixels handed to Matplotlib for the tile at (line, column)."""
    canvas = np.ma.getdata(figure.axes[panel].images[0].get_array())
    top, left = line * (shape[0] + 1) + 1, column * (shape[1] + 1) + 1
    return canvas[top : top + shape[0], left : left + shape[1]]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def words(legend):
    return [text.get_text() for text in legend.get_texts()]


def curves(figure, panel=0):
    """(x, y, line style, color) of each line of a panel."""
    return [(*line.get_data(), line.get_linestyle(), line.get_color()) for line in figure.axes[panel].lines]


# Images


def test_images_put_each_row_into_its_tile():
    figure = plots.images(RAMP, SHAPE, columns=2)
    canvas = np.ma.getdata(figure.axes[0].images[0].get_array())
    assert canvas.shape == (3 * 3 + 1, 2 * 4 + 1)
    for i, row in enumerate(RAMP):
        np.testing.assert_array_equal(tile(figure, *divmod(i, 2)), row.reshape(SHAPE))
    assert np.isfinite(canvas).sum() == RAMP.size  # all else is gap
    used = figure.axes[0].images[0].get_alpha()
    assert used[:7].all()
    assert used[7:, :5].all()
    assert not used[7:, 5:].any()  # the sixth place stays empty


@pytest.mark.parametrize(("count", "lines", "columns"), [(1, 1, 1), (4, 2, 2), (5, 2, 3), (10, 3, 4)])
def test_images_make_a_square_by_default(count, lines, columns):
    canvas = plots.images(np.zeros((count, 6)), SHAPE).axes[0].images[0].get_array()
    assert canvas.shape == (lines * 3 + 1, columns * 4 + 1)


def test_the_first_pixel_is_drawn_black_at_the_upper_left_among_gray_gaps():
    pixels = drawn(plots.images(np.eye(1, 64), (8, 8)))[..., :3]
    y, x = np.nonzero((pixels < 0.05).all(axis=2))
    height, width = pixels.shape[:2]
    assert y.max() < height / 4
    assert x.max() < width / 4
    assert len(y) > 1000
    middle = pixels[height // 2]
    assert (np.abs(middle - 0.8) < 0.01).all(axis=1).sum() > 20  # the gaps left and right
    assert (middle[width // 4 : -width // 4] == 1).all()


@pytest.mark.parametrize(
    ("options", "limits", "low", "high"),
    [
        ({}, (0, 1), "#ffffff", "#000000"),
        ({"colors": "gray"}, (0, 1), "#000000", "#ffffff"),
        ({"limit": 2.5}, (-2.5, 2.5), "#053061", "#67001f"),  # blue, red
        ({"limit": 2.5, "colors": "gray"}, (-2.5, 2.5), "#000000", "#ffffff"),
    ],
)
def test_color_scales_and_the_shade_of_gaps(options, limits, low, high):
    image = plots.images(RAMP, SHAPE, **options).axes[0].images[0]
    assert image.get_clim() == limits
    shades = [to_hex(image.to_rgba(np.ma.masked_invalid([x]))[0]) for x in (*limits, np.nan)]
    assert shades == [low, high, "#cccccc"]


def test_colored_images_show_their_own_colors(caplog):
    rows = np.array([[1, 0, 0, 0, 1, 0], [0, 0, 1, 2, -1, 0.5]])  # a red and a green, a blue and an impossible pixel
    image = plots.images(rows, (1, 2, 3)).axes[0].images[0]
    pixels = np.asarray(image.get_array())
    assert pixels.shape == (3, 7, 4)
    np.testing.assert_array_equal(pixels[1, 1:3], [[1, 0, 0, 1], [0, 1, 0, 1]])
    np.testing.assert_array_equal(pixels[1, 4:6], [[0, 0, 1, 1], [1, 0, 0.5, 1]])
    gaps = np.delete(pixels.reshape(-1, 4), [8, 9, 11, 12], axis=0)
    np.testing.assert_array_equal(gaps, np.full((17, 4), [0.8, 0.8, 0.8, 1]))
    centered = np.asarray(plots.images(rows, (1, 2, 3), limit=2).axes[0].images[0].get_array())
    np.testing.assert_array_equal(centered[1, 4:6, :3], [[0.5, 0.5, 0.75], [1, 0.25, 0.625]])
    assert not caplog.records  # Matplotlib clips too, and grumbles


def test_empty_places_among_colored_images_are_transparent():
    pixels = np.asarray(plots.images(np.ones((3, 6)), (1, 2, 3)).axes[0].images[0].get_array())
    assert pixels[3:, 4:, 3].sum() == 0
    assert pixels[..., 3].sum() == 5 * 7 - 2 * 3


# Filters


def test_filters_show_columns_on_one_symmetric_scale_that_an_outlier_does_not_set():
    weights = np.random.default_rng(0).normal(size=(6, 400))
    weights[2, 5] = -100
    figure = plots.filters(weights, SHAPE, columns=20)
    for unit in (0, 5, 21, 399):
        np.testing.assert_array_equal(tile(figure, *divmod(unit, 20)), weights[:, unit].reshape(SHAPE))
    low, high = figure.axes[0].images[0].get_clim()
    assert low == -high
    assert ((np.abs(weights) > high).sum(), weights.size) == (12, 2400)  # 0.5 %
    scale = figure.axes[1]
    assert scale.get_ylabel() == "weight"
    assert figure.axes[0].images[0].colorbar.extend == "both"  # its pointed ends say that colors are clipped
    assert plots.images(RAMP, SHAPE, limit=1).axes[0].images[0].colorbar.extend == "neither"
    assert ticks(scale.yaxis) == [f"−{high:.2g}", "0", f"{high:.2g}"]


@pytest.mark.parametrize(("weights", "limit"), [(np.zeros((6, 1)), 1.0), (np.where(np.arange(6000) == 7, -3.0, 0), 3.0)])
def test_filters_of_sparse_weights_have_a_scale(weights, limit):
    assert plots.filters(weights.reshape(6, -1), SHAPE).axes[0].images[0].get_clim() == (-limit, limit)


def test_filters_of_colored_patches_are_gray_where_weights_are_zero():
    weights = np.array([[0.0, 1], [0, -1], [0, 0]])
    pixels = np.asarray(plots.filters(weights, (1, 1, 3)).axes[0].images[0].get_array())
    np.testing.assert_allclose(pixels[1, [1, 3], :3], [[0.5, 0.5, 0.5], [1, 0, 0.5]])


# Reconstructions


def test_reconstructions_stand_below_their_originals_with_their_errors():
    changed = RAMP + np.arange(5)[:, None] / 10
    figure = plots.reconstructions(RAMP, changed, SHAPE, columns=3, errors=True, title="five")
    first, second = figure.axes
    for i in range(5):
        panel, column = divmod(i, 3)
        np.testing.assert_array_equal(tile(figure, 0, column, panel=panel), RAMP[i].reshape(SHAPE))
        np.testing.assert_array_equal(tile(figure, 1, column, panel=panel), changed[i].reshape(SHAPE))
    assert ticks(first.xaxis) == ["0.00", "0.0600", "0.240"]  # 6 pixels, each off by 0, 0.1, 0.2
    assert ticks(second.xaxis) == ["0.540", "0.960"]
    np.testing.assert_allclose(first.get_xticks(), [2, 6, 10])  # the centers of tiles
    assert ticks(first.yaxis) == ["original", "reconstruction"]
    assert first.get_yticks()[0] < first.get_yticks()[1]
    assert first.yaxis_inverted()  # line 0 is at the top
    assert second.get_xlabel() == "squared error (summed over pixels)"
    assert figure.get_suptitle() == "five"


def test_reconstructions_without_errors_have_ten_to_a_line():
    figure = plots.reconstructions(np.zeros((12, 6)), np.ones((12, 6)), SHAPE)
    assert [axes.images[0].get_array().shape for axes in figure.axes] == [(7, 41)] * 2
    assert [ticks(axes.xaxis) for axes in figure.axes] == [[], []]


# Distributions


def test_hidden_activations_count_dead_and_always_on_units():
    means = np.full((8, 10), 0.52, np.float32)
    means[:, 3] = 0.001
    means[:, [4, 7]] = 1
    means[0, 9] = 0.02  # its unit still has a mean of 0.46
    figure = plots.hidden_activations(means, title="activations")
    picture, bars, scale = figure.axes
    np.testing.assert_array_equal(picture.images[0].get_array(), means)
    assert picture.images[0].get_clim() == (0, 1)
    assert (picture.get_xlabel(), picture.get_ylabel(), picture.get_title()) == ("hidden unit", "row", "activations")
    assert scale.get_ylabel() == "activation"
    counts, edges, _ = bars.patches[0].get_data()
    np.testing.assert_allclose(edges, np.linspace(0, 1, 21))
    assert {i: n for i, n in enumerate(counts) if n} == {0: 1, 9: 1, 10: 6, 19: 2}
    assert bars.get_title() == "1 dead (mean < 0.01), 2 always on (mean > 0.99), of 10"


def test_hidden_activations_beyond_one_span_their_own_range():
    means = np.array([[-1.0, 0, 5], [-3, 0, 7]])
    picture, bars, _ = plots.hidden_activations(means).axes
    assert picture.images[0].get_clim() == (-3, 7)
    counts, edges, _ = bars.patches[0].get_data()
    assert (counts.sum(), edges[0], edges[-1]) == (3, -2, 6)
    assert bars.get_title() == ""


def test_histograms_hold_every_number_in_its_bin():
    weights = np.random.default_rng(1).normal(0, 0.1, (40, 50))
    weights[3, 4] = 2.0
    figure = plots.histograms({"weights": weights, "bias": np.array([-1.0, -1, 3])}, title="numbers")
    first, second = figure.axes
    counts, edges, _ = first.patches[0].get_data()
    assert counts.sum() == 2000
    assert (counts[-1], edges[-1], edges[0]) == (1, 2.0, weights.min())
    zero = np.searchsorted(edges, 0.05) - 1
    assert counts[zero] == ((weights >= edges[zero]) & (weights < edges[zero + 1])).sum()
    assert second.patches[0].get_data().values.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes] == [("weights", "count"), ("bias", "count")]
    assert figure.get_suptitle() == "numbers"


def test_histograms_set_updates_beside_their_parameters():
    values = {"weights": np.full((2, 3), -2.0), "bias": np.zeros(2)}
    updates = {"bias": np.array([0.25, 0.5]), "weights": np.full((2, 3), 0.002)}
    weights, weights_update, bias, bias_update = plots.histograms(values, updates).axes
    assert weights_update.get_xlabel() == "update of weights"
    assert weights_update.get_title() == "relative size 0.001"
    assert bias_update.get_title() == ""  # to zero there is no ratio
    assert bias_update.patches[0].get_data().edges[[0, -1]].tolist() == [0.25, 0.5]
    for axes, total, value in ((weights, 6, -2), (weights_update, 6, 0.002), (bias, 2, 0)):
        counts, edges, _ = axes.patches[0].get_data()
        full = np.flatnonzero(counts)
        assert counts[full].tolist() == [total]  # equal values fall into one bar, in the middle
        assert edges[full[0]] <= value < edges[full[0] + 1]
        assert edges[0] < value < edges[-1]


def test_histograms_survive_values_that_differ_by_rounding_only():
    values = np.array([1.0, 1.0 + 2e-16, 1.0 - 1e-16])
    assert plots.histograms({"bias": values}).axes[0].patches[0].get_data().values.sum() == 3


# Learning curves


ROWS = [
    {"epoch": 1, "step": 10, "seconds": 0.1, "reconstruction": 9.0, "validation_reconstruction": 8.0, "free_energy_gap": -1.0},
    {"epoch": 2, "step": 20, "seconds": 0.2, "reconstruction": 5.0},
    {
        "epoch": 3,
        "step": 30,
        "seconds": 0.3,
        "reconstruction": math.nan,
        "validation_reconstruction": 7,
        "free_energy_gap": 0.0,
    },
    {"epoch": 4, "step": 40, "seconds": 0.4, "reconstruction": 4.0, "validation_reconstruction": None, "free_energy_gap": 1.0},
    {
        "epoch": 5,
        "step": 50,
        "seconds": 0.5,
        "reconstruction": math.inf,
        "validation_reconstruction": 6,
        "free_energy_gap": 2.0,
    },
]


def test_learning_curves_draw_the_rows_training_and_validation_in_one_panel():
    figure = plots.learning_curves(ROWS, title="a run")
    assert [axes.get_ylabel() for axes in figure.axes] == ["reconstruction\n(squared error per row)", "free energy gap\n(nats)"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "epoch"]
    (x, y, solid, _), (validation_x, validation_y, dashed, _) = curves(figure)
    np.testing.assert_array_equal(x, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(y, [9, 5, np.nan, 4, np.nan])
    np.testing.assert_array_equal(validation_x, [1, 3, 4, 5])  # epoch 2 did not validate: the line passes over it
    np.testing.assert_array_equal(validation_y, [8, 7, np.nan, 6])
    assert (solid, dashed) == ("-", "--")
    assert words(figure.axes[0].get_legend()) == ["training", "validation"]
    assert [key.get_linestyle() for key in figure.axes[0].get_legend().get_lines()] == ["-", "--"]
    ((x, y, style_, _),) = curves(figure, 1)
    np.testing.assert_array_equal([x, y], [[1, 3, 4, 5], [-1, 0, 1, 2]])
    assert style_ == "-"
    assert figure.axes[1].get_legend() is None
    assert not figure.legends
    assert figure.get_suptitle() == "a run"


def test_learning_curves_mark_the_points_that_no_line_reaches():
    training, validation = plots.learning_curves(ROWS).axes[0].lines
    assert training.get_markevery() == [3]
    assert validation.get_markevery() == [3]
    (only,) = plots.learning_curves([{"epoch": 1, "loss": 2.0}]).axes[0].lines
    assert (only.get_markevery(), only.get_marker()) == ([0], "o")


def test_learning_curves_of_several_runs_have_a_color_each():
    other = [{"epoch": 1, "reconstruction": 3.0}, {"epoch": 2, "reconstruction": 2.0}]
    figure = plots.learning_curves([ROWS, other], labels=["CD", "PCD"])
    lines = {(style_, color): y.tolist() for _, y, style_, color in curves(figure)}
    assert lines["-", style.COLORS[1]] == [3, 2]
    assert lines["-", style.COLORS[0]][:2] == [9, 5]
    assert lines["--", style.COLORS[0]][:2] == [8, 7]
    (legend,) = figure.legends
    assert words(legend) == ["CD", "PCD"]
    assert [key.get_color() for key in legend.get_lines()] == list(style.COLORS[:2])
    assert words(plots.learning_curves([ROWS, other]).legends[0]) == ["run 1", "run 2"]
    assert words(plots.learning_curves(other, labels=["alone"]).legends[0]) == ["alone"]


def test_the_legend_of_long_names_stays_in_the_figure():
    names = ["SGD, squared error", "SGD, cross-entropy", "Adam, squared error", "Adam, cross-entropy"]
    figure = plots.learning_curves([[{"epoch": k, "error": 1 / k} for k in (1, 2)] for _ in names], names)
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.width


def test_learning_curves_are_logarithmic_where_told():
    figure = plots.learning_curves(ROWS, log="reconstruction")
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]
    drawn(figure)
    assert [label for label in ticks(figure.axes[0].yaxis) if label in ("5", "10")] == ["5", "10"]
    (wide,) = plots.learning_curves([{"epoch": i, "loss": 10.0**-i} for i in range(6)], log=["loss"]).axes
    assert {0.2, 0.5}.isdisjoint(wide.get_yticks())
    assert {0.1, 0.01} <= set(wide.get_yticks().round(9))


def test_a_validation_without_its_training_is_dashed_all_the_same():
    figure = plots.learning_curves([{"epoch": 1, "validation_loss": 2.0}, {"epoch": 2, "validation_loss": 1.0}])
    assert [(y.tolist(), style_) for _, y, style_, _ in curves(figure)] == [([2, 1], "--")]
    assert figure.axes[0].get_ylabel() == "loss"
    assert figure.axes[0].get_legend() is None


# Embeddings


def test_embedding_puts_codes_where_they_are():
    codes = np.random.default_rng(2).normal(size=(60, 2))
    labels = np.array(["cat", "ant", "bee"])[np.arange(60) % 3]
    figure = plots.embedding(codes, labels, title="animals")
    axes = figure.axes[0]
    assert words(figure.legends[0]) == ["ant", "bee", "cat"]
    for name, points, key in zip(["ant", "bee", "cat"], axes.collections, figure.legends[0].legend_handles, strict=True):
        np.testing.assert_array_equal(points.get_offsets(), codes[labels == name])
        assert to_hex(points.get_facecolor()[0]) == to_hex(key.get_color())
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("code 1", "code 2", "animals")
    drawn(figure)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    box = axes.get_window_extent()
    assert box.width / (right - left) == pytest.approx(box.height / (top - bottom))  # distances are true


def test_embedding_tells_35_classes_apart():
    figure = plots.embedding(np.zeros((35, 2)), np.arange(35))
    keys = {(key.get_color(), key.get_marker()) for key in figure.legends[0].legend_handles}
    assert len(keys) == 35
    assert words(figure.legends[0]) == [str(i) for i in range(35)]
    markers = [len(points.get_paths()[0].vertices) for points in figure.axes[0].collections[:2]]
    assert markers[0] != markers[1]


def test_embedding_projects_wide_codes_onto_principal_components():
    rng = np.random.default_rng(3)
    axes_, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    spread = rng.normal(size=(500, 5)) * [4, 2, 0.1, 0.1, 0.1]
    codes = spread @ axes_.T + 7
    figure = plots.embedding(codes, np.zeros(500, int))
    points = np.asarray(figure.axes[0].collections[0].get_offsets())
    centered = codes - codes.mean(axis=0)
    u, s, _ = np.linalg.svd(centered, full_matrices=False)
    for i in range(2):
        expected = u[:, i] * s[i]
        np.testing.assert_allclose(points[:, i] * np.sign(points[:, i] @ expected), expected, atol=1e-9)
        loadings = centered.T @ points[:, i]
        assert loadings[np.abs(loadings).argmax()] > 0
    shares = s**2 / (s**2).sum()
    assert figure.axes[0].get_xlabel() == f"principal component 1 of 5 ({shares[0]:.0%} of variance)"
    assert figure.axes[0].get_ylabel() == f"principal component 2 of 5 ({shares[1]:.0%} of variance)"


# All of them


def gallery():
    rng = np.random.default_rng(4)
    rows, weights = rng.random((7, 6)), rng.normal(size=(6, 9))
    return {
        "images": lambda: plots.images(rows, SHAPE, title="rows"),
        "colored images": lambda: plots.images(rows, (1, 2, 3)),
        "limited images": lambda: plots.images(rows, SHAPE, limit=0.5),
        "filters": lambda: plots.filters(weights, SHAPE, title="filters"),
        "reconstructions": lambda: plots.reconstructions(rows, rows[::-1], SHAPE, columns=4, errors=True),
        "hidden activations": lambda: plots.hidden_activations(rows),
        "constant activations": lambda: plots.hidden_activations(np.full((2, 3), 5.0)),
        "histograms": lambda: plots.histograms({"weights": weights}),
        "updates": lambda: plots.histograms({"weights": weights}, {"weights": weights / 1000}),
        "learning curves": lambda: plots.learning_curves(ROWS, log="reconstruction"),
        "several runs": lambda: plots.learning_curves([ROWS] * 7),
        "a run without values": lambda: plots.learning_curves([{"epoch": 1, "loss": math.nan}], log="loss"),
        "embedding": lambda: plots.embedding(rows[:, :2], np.arange(7)),
        "principal components": lambda: plots.embedding(rows, ["a"] * 7),
        "one wide code": lambda: plots.embedding(rows[:1], [0]),
    }


@pytest.mark.parametrize("name", gallery())
def test_each_renders_and_is_not_blank(name):
    pixels = drawn(gallery()[name]())
    assert pixels.shape[1] == 600
    assert (pixels[..., :3].min(axis=2) < 0.9).mean() > 0.002
    assert pyplot.get_fignums() == []  # no state that outlives the figure


def test_the_same_input_makes_the_same_picture():
    codes = np.random.default_rng(5).normal(size=(20, 3))
    first, second = (drawn(plots.embedding(codes, np.arange(20) % 4)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_pictures_of_a_trained_machine():
    train, validation, _ = data.load("digits")
    history = History()
    rbm = RBM(64, 16, device="cpu", seed=1)
    before = rbm.parameters.state_dict()
    rbm.fit(train.images[:200], epochs=3, validation=validation.images, callbacks=[history])
    parameters = rbm.parameters.state_dict()
    weights = rbm.weights.copy()
    figures = [
        plots.filters(rbm.weights, train.shape),
        plots.histograms(parameters, {name: parameters[name] - before[name] for name in parameters}),
        plots.learning_curves(history.rows),
        plots.hidden_activations(rbm.transform(validation.images)),
        plots.embedding(rbm.transform(validation.images), validation.labels),
    ]
    np.testing.assert_array_equal(tile(figures[0], 3, 3, train.shape), weights[:, 15].reshape(8, 8))
    assert [axes.patches[0].get_data().values.sum() for axes in figures[1].axes[::2]] == [1024, 64, 16]
    np.testing.assert_array_equal(curves(figures[2])[0][1], [row["reconstruction"] for row in history.rows])
    assert words(figures[4].legends[0]) == [str(digit) for digit in range(10)]
    np.testing.assert_array_equal(rbm.weights, weights)


# Bad input


@pytest.mark.parametrize(
    "call",
    [
        lambda x: plots.images(x, SHAPE),
        lambda x: plots.filters(x, SHAPE),
        lambda x: plots.reconstructions(np.zeros((6, 6)), x, SHAPE),
        lambda x: plots.hidden_activations(x),
        lambda x: plots.histograms({"weights": x}),
        lambda x: plots.histograms({"weights": np.zeros((6, 6))}, {"weights": x}),
        lambda x: plots.embedding(x, np.zeros(6)),
        lambda x: plots.embedding(np.zeros((6, 2)), x[0]),
    ],
)
def test_arrays_on_a_device_are_refused(call, strict):
    call(np.zeros((6, 6)))
    with pytest.raises(MixedDevicesError, match=r"found .* on a device; .* write device\.to_host\("):
        call(strict.asarray(np.zeros((6, 6))))
    assert strict.syncs == 0


ZEROS = np.zeros((4, 6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.images(ZEROS, (2, 2)), r"found rows of shape \(4, 6\); expected \(n, 4\)"),
        (lambda: plots.images(ZEROS[0], SHAPE), r"found rows of shape \(6,\).* write .*rows\[None\] for a single row"),
        (lambda: plots.images(ZEROS.reshape(4, 2, 3), SHAPE), r"write rows\.reshape\(len\(rows\), -1\)"),
        (lambda: plots.images(ZEROS[:0], SHAPE), r"found rows of dtype float64 and shape \(0, 6\); expected real numbers"),
        (lambda: plots.images(ZEROS.astype(complex), SHAPE), "dtype complex128"),
        (lambda: plots.images(np.full((1, 6), np.nan), SHAPE), "found 6 of 6 values of rows NaN or infinite"),
        (lambda: plots.images(ZEROS, (6,)), r"found shape=\(6,\); expected \(height, width\)"),
        (lambda: plots.images(ZEROS, (1, 3, 2)), r"found shape=\(1, 3, 2\); .*\(height, width, 3\)"),
        (lambda: plots.images(ZEROS, SHAPE, columns=0), "found columns=0; expected 1 or more"),
        (lambda: plots.images(ZEROS, SHAPE, limit=0), "found limit=0; expected a positive number"),
        (lambda: plots.images(ZEROS, (1, 2, 3), colors="gray"), "write colors=None"),
        (lambda: plots.filters(ZEROS, SHAPE), r"found weights of shape \(4, 6\); expected \(6, hidden\).*write weights\.T"),
        (lambda: plots.filters(np.full((6, 4), np.inf), SHAPE), "24 of 24 values of weights"),
        (
            lambda: plots.reconstructions(ZEROS, ZEROS[:3], SHAPE),
            r"found 4 originals and 3 reconstructions; .*model\.reconstruct",
        ),
        (lambda: plots.reconstructions(ZEROS, ZEROS, (3, 3)), r"found originals of shape \(4, 6\)"),
        (lambda: plots.reconstructions(ZEROS, ZEROS, SHAPE, columns=-1), "found columns=-1"),
        (lambda: plots.hidden_activations(ZEROS[0]), r"found means of shape \(6,\)"),
        (lambda: plots.histograms({}), r"found parameters \[\]"),
        (lambda: plots.histograms({"a": ZEROS}, {"b": ZEROS}), r"parameters \['a'\], updates \['b'\]; .*new - old"),
        (lambda: plots.histograms({"a": ZEROS}, {"a": ZEROS[0]}), r"an update of shape \(6,\) for 'a'; expected \(4, 6\)"),
        (lambda: plots.histograms({"a": [np.nan]}), "1 of 1 values of a NaN"),
        (lambda: plots.learning_curves([]), r"found a run without rows"),
        (lambda: plots.learning_curves([ROWS, []]), r"found a run without rows"),
        (lambda: plots.learning_curves([{"loss": 1.0}]), "rows without 'epoch'"),
        (lambda: plots.learning_curves([{"epoch": 1, "step": 1}]), r"found the quantities \[\]"),
        (lambda: plots.learning_curves(ROWS, log="loss"), r"log=\['loss'\]; expected one or more, log among them"),
        (lambda: plots.learning_curves(ROWS, log="free_energy_gap"), "found free_energy_gap = -1; a logarithmic axis needs"),
        (lambda: plots.learning_curves([ROWS, ROWS], labels=["one"]), r"found 2 runs, labels=\['one'\]"),
        (lambda: plots.learning_curves([ROWS] * 8), "found 8 runs, .* than the 7 colors"),
        (lambda: plots.embedding(ZEROS[:, :1], np.zeros(4)), r"found codes of shape \(4, 1\)"),
        (lambda: plots.embedding(ZEROS, np.eye(4)), r"labels of shape \(4, 4\); .* labels\.argmax\(axis=1\)"),
        (lambda: plots.embedding(ZEROS, np.zeros(3)), r"labels of shape \(3,\)"),
        (lambda: plots.embedding(np.zeros((36, 2)), np.arange(36)), "found 36 different labels; expected at most 35"),
    ],
)
def test_bad_input_is_named_with_what_to_write(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_sparse_matrix_is_told_how_to_become_dense():
    from scipy.sparse import csr_matrix

    with pytest.raises(ValueError, match=r"found means of dtype object .* write means\.toarray\(\)"):
        plots.hidden_activations(csr_matrix(ZEROS))


@pytest.mark.parametrize("runs", [History(), [History()], "history.csv"])
def test_a_history_is_told_to_hand_out_its_rows(runs):
    with pytest.raises(TypeError, match=r"found (History|str); expected .* write history\.rows"):
        plots.learning_curves(runs)
