"""GAN: each player's gradient, a step beside PyTorch's, what is learned, resumption, the monitors of collapse and imbalance."""

import numpy as np
import pytest
from cases import LAYER_CASES, directional

from ebm import data
from ebm.compute.random import Stream
from ebm.training import (
    SGD,
    Adam,
    Callback,
    Checkpoint,
    DivergenceError,
    DivergenceGuard,
    History,
    Linear,
    MaxNorm,
    PolyakAverage,
    WeightDecay,
)
from ebm.training.penalties import SparsityTarget
from neural import GAN, Autoencoder, LineSearch, load
from neural.adversarial import AdversarialStep
from neural.balance import BalanceMonitor, BalanceWarning
from neural.layers import BatchNorm, Dense, Dropout, LeakyReLU, Maxout, ReLU, Reshape, Sigmoid, Tanh
from neural.network import Network


def rows(n=20, width=6, seed=1):
    return np.random.default_rng(seed).random((n, width))


def tiny(**options):
    generator = [Dense(5, bias=False), BatchNorm(), ReLU(), Dense(6), Sigmoid()]
    discriminator = [Dropout(0.2), Maxout(4, 3), BatchNorm(), Dropout(0.3), Dense(1)]
    return GAN(generator, discriminator, **{"latent": 3, "inputs": 6, "device": "cpu", "dtype": "float64", "seed": 3} | options)


def small_dcgan(**options):
    return GAN.convolutional((8, 8, 1), latent=4, channels=2, hidden=5, device="cpu", dtype="float64", seed=3, **options)


def moved(model, by=0.3):
    """The model, its parameters none of those where training starts."""
    generator = np.random.default_rng(2)
    for part in model.parts.values():
        part.buffer[...] += by * generator.normal(size=part.buffer.size)
    return model


def step_of(model, optimizer=SGD(0.1), **options):
    return AdversarialStep(model, optimizer, optimizer, steps_per_epoch=3, **{"seed": 2} | options)


def learned(part):
    return [name for name, segment in part.segments.items() if not segment.frozen]


# The step.


@pytest.mark.parametrize("make", [tiny, small_dcgan])
@pytest.mark.parametrize("loss", ["non-saturating", "minimax"])
def test_each_players_gradient_is_the_derivative_of_its_loss(make, loss):
    model = moved(make())
    step, x = step_of(model, loss=loss), rows(7, model.inputs)

    def play(player):
        """The player's loss with the noise of one draw, and its gradient."""
        step.stream.seek_(4)
        fake, to_latent = model.generator(model.draw(7, step.stream), step.stream)
        side = step._generator if player == "generator" else step._discriminator
        gradient = side.gradient(side.update.begin(0.0))
        metrics = step.fool(fake, to_latent, gradient) if player == "generator" else step.judge(x, fake, gradient)
        gradient.finish()
        return float(metrics[f"{player}_loss"]), gradient.target

    for player, part in model.parts.items():
        gradient = play(player)[1]
        found = {name: gradient[name].copy() for name in learned(part)}
        differences, along = directional(lambda p=player: play(p)[0], [part[name] for name in found], list(found.values()))
        assert along == pytest.approx(differences, rel=1e-6)
        assert abs(along) > 1e-3


def by_torch(torch, network, tensors, x):
    """The network in training on tensors of its parameters."""
    names = {"Conv2D": "Conv2D, stride and padding", "ConvTranspose2D": "ConvTranspose2D, stride and padding"}
    for k, layer in enumerate(network.layers):
        kind, p = type(layer).__name__, {name: tensors[f"{k}.{name}"] for name in layer.names}
        if kind == "BatchNorm":
            own = [p[name] for name in ("mean", "variance", "scale", "shift")]
            x = torch.nn.functional.batch_norm(x.reshape(-1, x.shape[-1]), *own, True, 0.1, 1e-5).reshape(x.shape)
        elif kind == "Reshape":
            x = x.reshape(-1, *layer.shape)
        elif kind == "LeakyReLU":
            x = torch.nn.functional.leaky_relu(x, 0.2)
        else:
            name = "Dense, without bias" if kind == "Dense" and "bias" not in p else names.get(kind, kind)
            x = LAYER_CASES[name].torch(torch, x, {f"0.{name}": value for name, value in p.items()}, True)
    return x


@pytest.mark.parametrize("loss", ["non-saturating", "minimax"])
def test_pytorch_takes_the_same_steps(loss):
    torch = pytest.importorskip("torch")
    model = moved(small_dcgan(), 0.1)
    tensors = {player: {n: torch.tensor(v) for n, v in part.state_dict().items()} for player, part in model.parts.items()}
    optimizers = {}
    for player, part in model.parts.items():
        trained = [tensors[player][name].requires_grad_() for name in learned(part)]
        optimizers[player] = torch.optim.SGD(trained, lr=0.05 if player == "generator" else 0.02, momentum=0.5)
    step = AdversarialStep(model, SGD(0.05, 0.5), SGD(0.02, 0.5), steps_per_epoch=3, loss=loss, real_label=0.9, seed=2)

    def logit(x):
        return by_torch(torch, model.discriminator, tensors["discriminator"], x.reshape(-1, 8, 8, 1))

    def cross_entropy(z, label):
        return torch.nn.functional.binary_cross_entropy_with_logits(z, torch.full_like(z, label))

    for draw in range(3):
        x = rows(6, 64, seed=draw)
        metrics = step(x)
        z = torch.tensor(model.draw(6, Stream(2, "learning").at(draw)))
        fake = by_torch(torch, model.generator, tensors["generator"], z)
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        on_data, on_fakes = logit(torch.tensor(x)), logit(fake.detach())
        judged = cross_entropy(on_data, 0.9) + cross_entropy(on_fakes, 0.0)
        judged.backward()
        optimizers["discriminator"].step()
        again = logit(fake)
        fooled = cross_entropy(again, 1.0) if loss == "non-saturating" else torch.log1p(-again.sigmoid()).mean()
        fooled.backward()
        optimizers["generator"].step()
        expected = {
            "generator_loss": fooled,
            "discriminator_loss": judged,
            "real": on_data.sigmoid().mean(),
            "fake": on_fakes.sigmoid().mean(),
            "diversity": fake.reshape(6, 64).std(0, correction=0).mean() / torch.tensor(x).std(0, correction=0).mean(),
        }
        assert metrics.keys() == expected.keys()
        for name, value in expected.items():
            assert float(metrics[name]) == pytest.approx(value.item(), rel=1e-9), name
    for player, part in model.parts.items():
        for name, value in part.named_arrays().items():
            np.testing.assert_allclose(value, tensors[player][name].detach().numpy(), rtol=1e-8, atol=1e-11, err_msg=name)


def test_minimax_is_the_other_loss_weighed_by_the_odds():
    """By a generated row, d ln(1 - D) = -D/(1 - D) d ln D: what has been seen through counts for nothing."""
    model = moved(GAN([Dense(6)], [Dense(4), Tanh(), Dense(1)], latent=3, inputs=6, device="cpu", dtype="float64"), 1.0)
    fake, found = rows(9), {}
    for loss in ("non-saturating", "minimax"):
        step = step_of(model, loss=loss)
        gradient = step._generator.gradient(0.0)
        step.fool(fake, lambda dy, gradient, through, loss=loss: found.update({loss: dy.copy()}), gradient)
    probability = model.discriminate(fake)
    odds = probability / (1 - probability)
    np.testing.assert_allclose(found["minimax"], odds[:, None] * found["non-saturating"], rtol=1e-9)
    assert odds.std() > 0.1


def test_every_row_is_seen_once_by_the_discriminator_in_an_epoch(monkeypatch):
    x, seen, history = rows(12), [], History()
    judge = AdversarialStep.judge

    def watched(step, x, fake, gradient):
        seen.append(x.copy())
        return judge(step, x, fake, gradient)

    monkeypatch.setattr(AdversarialStep, "judge", watched)
    tiny().fit(x, epochs=1, batch_size=3, discriminator_steps=2, callbacks=[history])
    assert [len(part) for part in seen] == [3] * 4
    np.testing.assert_array_equal(np.sort(np.concatenate(seen), axis=0), np.sort(x, axis=0))
    assert {"generator_loss", "discriminator_loss", "real", "fake", "diversity"} <= history.rows[-1].keys()


def test_the_players_have_optimizers_and_penalties_of_their_own():
    def trained(**options):
        model = tiny().fit(rows(), epochs=1, batch_size=10, optimizer=SGD(1e-9), **options)
        return model.generator.parameters["0.weights"], model.discriminator.parameters["1.weights"]

    def away(found, expected):
        return [float(np.abs(x - y).max()) for x, y in zip(found, expected, strict=True)]

    def norms(found):
        return [float(np.linalg.norm(x, axis=0).max()) for x in found]

    start = tiny().generator.parameters["0.weights"], tiny().discriminator.parameters["1.weights"]
    generator, discriminator = away(trained(discriminator_optimizer=SGD(0.5)), start)
    assert generator < 1e-7
    assert discriminator > 1e-3
    assert max(away(trained(), start)) < 1e-7
    assert min(norms(start)) > 0.2
    generator, discriminator = norms(trained(penalties=[MaxNorm(0.1)]))
    assert generator == pytest.approx(0.1)
    assert discriminator > 0.2
    generator, discriminator = norms(trained(discriminator_penalties=[MaxNorm(0.1)]))
    assert generator > 0.2
    assert discriminator == pytest.approx(0.1)


def test_training_on_a_strict_device_waits_for_nothing_and_equals_the_cpus(strict):
    found = {}
    for device in ("cpu", strict):
        for name, make in {"dense": tiny, "uniform": lambda **o: tiny(prior="uniform", **o)}.items():
            model = make(device=device)
            for player, part in model.parts.items():
                part.load_state_dict(make().parts[player].state_dict())
            step, x = step_of(model, SGD(0.1, 0.5), discriminator_steps=2), model.device.asarray(rows(8))
            step(x)
            syncs, uploads = strict.syncs, strict.uploads
            step(x)
            assert (strict.syncs, strict.uploads) == (syncs, uploads)
            assert step.stream.take(0)[1] == 0  # each step draws from the same place in the stream, as a captured one must
            found[name, model.device.name] = {player: part.state_dict() for player, part in model.parts.items()}
            assert model.sample(2).shape == (2, 6)
    for name in ("dense", "uniform"):
        for player, state in found[name, "cpu"].items():
            for key, value in state.items():
                np.testing.assert_allclose(found[name, "strict"][player][key], value, rtol=1e-9, atol=1e-12)


# What is learned.


def test_a_gaussian_is_learned():
    x = np.random.default_rng(1).normal(3, 0.5, (4000, 1))
    discriminator = [Dense(16), LeakyReLU(0.2), Dense(16), LeakyReLU(0.2), Dense(1)]
    model = GAN([Dense(1)], discriminator, latent=1, inputs=1, device="cpu", seed=1)
    options = {"batch_size": 200, "real_label": 1.0, "discriminator_optimizer": Adam(0.01, beta1=0.5)}
    model.fit(x, epochs=60, optimizer=Adam(0.005, beta1=0.5), **options)
    model.fit(x, epochs=30, optimizer=Adam(0.001, beta1=0.5), **options)
    samples = model.sample(4000, seed=0)
    assert samples.mean() == pytest.approx(3, abs=0.1)
    assert samples.std() == pytest.approx(0.5, rel=0.1)
    # no discriminator tells it from the data: D(x) = 1/2
    assert np.abs(model.discriminate(x) - 0.5).mean() < 0.05


def test_a_dcgan_learns_where_ink_lies():
    train = data.load("digits")[0].images
    history, model = History(), GAN.convolutional((8, 8, 1), latent=16, channels=8, hidden=32, device="cpu", seed=1)

    def away():
        return np.abs(model.sample(500, seed=0).mean(axis=0) - train.mean(axis=0)).mean()

    start = away()
    model.fit(train, epochs=30, batch_size=50, optimizer=Adam(1e-3, beta1=0.5), callbacks=[history])
    assert away() < 0.25 * start
    assert 0.5 < history.rows[-1]["diversity"] < 1.5


def test_the_dense_one_is_goodfellows():
    model = GAN.dense(64, latent=8, hidden=32, units=16, device="cpu")
    assert [type(layer) for layer in model.generator.layers] == [Dense, ReLU, Dense, ReLU, Dense, Sigmoid]
    assert [type(layer) for layer in model.discriminator.layers] == [Dropout, Maxout, Dropout, Maxout, Dropout, Dense]
    assert model.discriminator.parameters["1.weights"].shape == (64, 80)
    assert (model.inputs, model.latent, model.prior) == (64, 8, "uniform")
    before = model.sample(5, seed=0)
    model.fit(data.load("digits")[0].images[:200], epochs=1)
    assert np.abs(model.sample(5, seed=0) - before).max() > 0


def test_the_convolutional_one_makes_digits_of_28_pixels():
    model = GAN.convolutional(latent=10, channels=3, hidden=200, device="cpu")
    assert model.inputs == 784
    assert model.generator.layers[4].outputs == (7, 7, 6)
    assert model.discriminator.layers[2].outputs == (7, 7, 6)
    weights = [x for part in model.parts.values() for name, x in part.named_arrays().items() if name.endswith("weights")]
    assert len(weights) == 8
    for x in weights:
        assert x.std() == pytest.approx(0.02, rel=0.2)


def test_maxout_can_be_the_absolute_value():
    network = Network([Maxout(1, 2)], 1, device="cpu")
    network.parameters["0.weights"][...] = [[1, -1]]
    x = np.array([[-2.0], [0.5], [3.0]], np.float32)
    np.testing.assert_array_equal(network(x)[0], np.abs(x))


# Samples.


def test_samples_are_what_the_noise_stands_for():
    for prior, deviation in {"normal": 1.0, "uniform": 3**-0.5}.items():
        model = moved(tiny(prior=prior))
        z = model.latents(5000, seed=4)
        assert z.std() == pytest.approx(deviation, rel=0.02)
        assert abs(z.mean()) < 0.03
        assert prior == "normal" or (-1 <= z.min() < -0.99 and 0.99 < z.max() <= 1)
        np.testing.assert_array_equal(model.sample(50, seed=4), model.decode(z[:50]))
        np.testing.assert_array_equal(model.sample(50, seed=4), model.sample(50, seed=4))
        assert (model.sample(50, seed=5) != model.sample(50, seed=4)).any()
        assert (model.sample(50) != model.sample(50)).any()
        np.testing.assert_allclose(model.decode(z[:1]), model.decode(z[:50])[:1], rtol=1e-12)


def test_probabilities_are_those_of_the_logits():
    model, x = moved(tiny()), rows()
    logits = model.discriminator.evaluate(x)[:, 0]
    np.testing.assert_allclose(model.discriminate(x), 1 / (1 + np.exp(-logits)), rtol=1e-12)


def test_both_players_start_with_weights_of_their_own():
    model = GAN([Dense(4), Tanh(), Dense(4)], [Dense(4), Tanh(), Dense(1)], latent=4, inputs=4, device="cpu", seed=7)
    assert (model.generator.parameters["0.weights"] != model.discriminator.parameters["0.weights"]).all()


# Files.


def test_a_resumed_run_is_the_unbroken_one_for_both_players(tmp_path):
    options = {
        "batch_size": 4,
        "discriminator_steps": 2,
        "optimizer": Adam(Linear(0.01, 0.001, epochs=4)),
        "discriminator_optimizer": SGD(0.05, momentum=0.5),
        "penalties": [WeightDecay(1e-3)],
        "binarization": "stochastic",
    }
    whole = tiny().fit(rows(), epochs=4, **options)
    tiny().fit(rows(), epochs=2, callbacks=[Checkpoint(tmp_path, every_epochs=None, every_steps=4)], **options)
    newest = tmp_path / "step-00000004.safetensors"  # in the middle of the second epoch
    part = tiny(seed=9).fit(rows(), epochs=4, resume=newest, **options)
    for player in whole.parts:
        np.testing.assert_array_equal(part.parts[player].buffer, whole.parts[player].buffer)


def test_the_mean_of_one_player_alone_is_kept_and_goes_on_from_a_checkpoint(tmp_path):
    class Seen(Callback):
        def __init__(self, model):
            self.model, self.all = model, []

        def on_step(self, run):
            self.all.append(self.model.generator.parameters.buffer.copy())

    model = tiny()
    seen, average = Seen(model), PolyakAverage(start=1, of=model.generator.parameters)
    model.fit(rows(), epochs=3, batch_size=4, callbacks=[seen, average])
    np.testing.assert_allclose(average.parameters.buffer, np.mean(seen.all[5:], axis=0), rtol=1e-13)

    first, second = tiny(), tiny(seed=9)
    checkpoint = Checkpoint(tmp_path, every_epochs=2)
    first.fit(rows(), epochs=2, batch_size=4, callbacks=[PolyakAverage(start=1, of=first.generator.parameters), checkpoint])
    resumed = PolyakAverage(start=1, of=second.generator.parameters)
    second.fit(rows(), epochs=3, batch_size=4, callbacks=[resumed], resume=tmp_path, seed=model.generator.seed)
    np.testing.assert_array_equal(resumed.parameters.buffer, average.parameters.buffer)

    judge = second.discriminator.parameters.buffer.copy()
    resumed.apply_()
    np.testing.assert_array_equal(second.generator.parameters.buffer, average.parameters.buffer)
    np.testing.assert_array_equal(second.discriminator.parameters.buffer, judge)
    with pytest.raises(
        ValueError, match=r"found Players as the parameters of a run.*PolyakAverage\(of=gan.generator.parameters\)"
    ):
        tiny().fit(rows(), batch_size=4, callbacks=[PolyakAverage()])


def test_a_saved_one_is_the_same(tmp_path):
    path, model = tmp_path / "model.safetensors", tiny(prior="uniform").fit(rows(), epochs=1, batch_size=5)
    model.save(path)
    for loaded in (load(path, device="cpu"), GAN.load(path, device="cpu")):
        assert repr(loaded) == repr(model)
        np.testing.assert_array_equal(loaded.sample(7, seed=0), model.sample(7, seed=0))
        np.testing.assert_array_equal(loaded.discriminate(rows()), model.discriminate(rows()))
    with pytest.raises(ValueError, match="holds a GAN; expected a Autoencoder"):
        Autoencoder.load(path, device="cpu")


# What can go wrong.


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_the_guard_looks_at_both_players(player):
    model = tiny()
    name = "3.bias" if player == "generator" else "4.weights"
    model.parts[player][name][...] = 2000
    with pytest.raises(DivergenceError, match=f"{player}.{name} has grown beyond"):
        model.fit(rows(), epochs=1, batch_size=10, callbacks=[DivergenceGuard()])


def plain(**options):
    """A GAN for points around (3, 3)."""
    discriminator = [Dense(16), LeakyReLU(0.2), Dense(1)]
    return GAN([Dense(8), Tanh(), Dense(2)], discriminator, latent=2, inputs=2, device="cpu", seed=1, **options)


def points(n=200):
    return np.random.default_rng(3).normal(3, 0.5, (n, 2))


def test_a_discriminator_that_has_won_is_called_so():
    model = plain()
    model.generator.freeze(0, 2)  # it can't answer
    with pytest.warns(
        BalanceWarning, match=r"has won: in epoch \d+ it gave data 0\.\d+ and .*discriminator_optimizer"
    ) as found:
        model.fit(points(), epochs=40, batch_size=50, optimizer=Adam(0.02))
    assert len(found) == 1
    assert found[0].filename == __file__


def test_a_generator_that_collapses_is_called_so():
    model, history = plain(), History()
    model.fit(points(), epochs=5, batch_size=50, optimizer=SGD(1e-6), discriminator_optimizer=Adam(0.01))
    model.discriminator.freeze(0, 2)  # it doesn't object to the same point again and again
    with pytest.warns(BalanceWarning, match=r"has collapsed: in epoch \d+ the spread of its rows was 0\.0\d+ of that") as found:
        model.fit(points(), epochs=150, batch_size=50, optimizer=Adam(0.02), callbacks=[history])
    assert len(found) == 1
    assert history.rows[-1]["diversity"] < 0.1 < history.rows[0]["diversity"]


def at(monitor, **metrics):
    """An epoch with these metrics, as the monitor sees it."""

    class Epoch:
        epoch = 3

    Epoch.metrics = {"real": 0.6, "fake": 0.3, "diversity": 1.0} | metrics
    monitor.on_epoch(Epoch)


def test_the_monitor_says_a_thing_once_and_remembers_it_in_checkpoints():
    monitor = BalanceMonitor()
    for diversity in (0.01, 0.02, 0.05):  # it begins
        at(monitor, diversity=diversity)
    at(monitor, real=0.1, fake=0.001, diversity=0.06)  # all is called generated: no victory
    at(monitor, real=0.89, fake=0.02, diversity=0.07)
    with pytest.warns(BalanceWarning, match="spread of its rows was 0.040 of that of the data"):
        at(monitor, diversity=0.04)
    with pytest.warns(BalanceWarning, match="gave data 0.890 and generated rows 0.0050"):
        at(monitor, real=0.89, fake=0.005)
    again = BalanceMonitor()
    again.load_state_dict(monitor.state_dict())
    for said in (monitor, again):
        at(said, real=0.9, fake=0.001, diversity=0.0)
    other = BalanceMonitor()
    other.load_state_dict({"said": [], "before": 0.03})
    with pytest.warns(BalanceWarning, match="collapsed"):
        at(other, diversity=0.02)


def test_a_monitor_given_takes_the_place_of_the_usual_one():
    model = plain()
    model.generator.freeze(0, 2)
    options = {"epochs": 3, "batch_size": 50, "optimizer": SGD(1e-6), "callbacks": [BalanceMonitor(diversity=10.0)]}
    with pytest.warns(BalanceWarning, match="collapsed") as found:
        model.fit(points(), **options)
    assert len(found) == 1
    with pytest.raises(ValueError, match="BalanceMonitor is for GANs: leave it out"):
        Autoencoder([6, 3], device="cpu").fit(rows(), epochs=1, batch_size=10, callbacks=[BalanceMonitor()])


END = [Dense(1)]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: tiny(latent=0), "found latent=0; expected a whole number of at least 1"),
        (lambda: tiny(prior="cauchy"), "found prior='cauchy'; expected 'normal' or 'uniform'"),
        (lambda: GAN([Dense(6)], [Dense(2)], latent=2, inputs=6), r"ends with rows of \(2,\); expected one logit: end it with"),
        (lambda: GAN([Dense(6)], [*END, Sigmoid()], latent=2, inputs=6), "belongs to the loss; leave the layer out"),
        (lambda: GAN([Dense(5)], END, latent=2, inputs=6), r"ends with rows of \(5,\).*of rows of \(6,\); expected 6 numbers"),
        (lambda: GAN([Dense(6), Reshape(5)], END, latent=2, inputs=6), "layer 1 does not fit"),
        (lambda: GAN([Dense(4)], [Maxout(3), *END], latent=2, inputs=(2, 2, 1)), r"put Reshape\(4\) before it"),
        (lambda: GAN.convolutional((10, 8, 1)), r"found shape=\(10, 8, 1\); expected .* sides that four divides"),
        (lambda: GAN.dense(units=0), "found units=0; expected a whole number of at least 1"),
        (lambda: GAN.convolutional(channels=0), "found channels=0; expected a whole number of at least 1"),
        (lambda: GAN.convolutional(hidden=1.5), "found hidden=1.5; expected a whole number of at least 1"),
        (lambda: Maxout(3, 0), "found pieces=0"),
        (
            lambda: tiny().fit(rows(), batch_size=5, loss="wasserstein"),
            "found loss='wasserstein'; expected 'non-saturating' or 'minimax'",
        ),
        (lambda: tiny().fit(rows(), batch_size=5, real_label=0.0), "expected 0.5 < real_label <= 1"),
        (lambda: tiny().fit(rows(), batch_size=5, discriminator_steps=0), "found discriminator_steps=0"),
        (lambda: tiny().fit(rows(), batch_size=1), "found batch_size=1; one row has no spread.*expected two or more"),
        (lambda: tiny().fit(rows(), batch_size=5, discriminator_steps=5), "found 20 rows; .* = 25: expected as many or more"),
        (lambda: tiny().fit(rows(width=5), batch_size=5), "5 columns; expected 6"),
        (lambda: tiny().fit(2 * rows(), batch_size=5), r"data\[\d+, \d+\] is 1\.\d+; expected values in \[0.0, 1.0\]"),
        (lambda: tiny().fit(rows() * np.nan, batch_size=5), "nan"),
        (
            lambda: tiny().fit(rows(), batch_size=5, optimizer=LineSearch()),
            "found optimizer=LineSearch.*the other player moves",
        ),
        (lambda: tiny().fit(rows(), batch_size=5, discriminator_optimizer=Adam), "found discriminator_optimizer=<class"),
        (lambda: tiny().fit(rows(), batch_size=5, penalties=[SparsityTarget(0.1)]), "a penalty of machines"),
        (lambda: tiny().fit(rows(), batch_size=5, penalties=WeightDecay(0.1)), r"write penalties=\[WeightDecay\(rate=0.1\)\]"),
        (
            lambda: GAN([Dense(6), Tanh()], END, latent=2, inputs=6, device="cpu").fit(
                rows() - 0.5, batch_size=5, binarization="stochastic"
            ),
            r"expected values in \[0.0, 1.0\]",
        ),
        (lambda: tiny().decode(rows(width=4)), "4 columns; expected 3"),
        (lambda: tiny().discriminate(rows(width=4)), "4 columns; expected 6"),
        (lambda: tiny().sample(0), "found n=0"),
    ],
)
def test_bad_input(make, match):
    with pytest.raises((ValueError, TypeError), match=match):
        make()


def test_a_tanh_makes_data_between_minus_one_and_one():
    model = GAN([Dense(6), Tanh(), Reshape(6)], END, latent=2, inputs=6, device="cpu")
    model.fit(2 * rows() - 1, epochs=1, batch_size=10)
    before = [part.buffer.copy() for part in model.parts.values()]
    with pytest.raises(ValueError, match=r"expected values in \[-1.0, 1.0\]"):
        model.fit(2 * rows(), epochs=1, batch_size=10)
    for part, value in zip(model.parts.values(), before, strict=True):
        np.testing.assert_array_equal(part.buffer, value)
