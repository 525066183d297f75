"""Steps that are captured and replayed: the strict device replays operations, never Python."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from strict import SyncError

from ebm import CD, DBM, DBN, PCD, RBM, TAP, Bernoulli, Exact, FastPCD, Gaussian, Joint, ParallelTempering, ReLU, Softmax
from ebm.annealing import Path
from ebm.compute import gemm as module_of_products
from ebm.compute import graph as module
from ebm.compute.device import CPU, get
from ebm.compute.graph import Graph
from ebm.compute.random import Stream
from ebm.learning.step import Step
from ebm.training import SGD, Adam, MaxNorm, SparsityTarget, WeightDecay
from ebm.up_down import UpDown
from neural import GAN, VAE, Autoencoder
from neural.adversarial import AdversarialStep
from neural.corruption import SaltAndPepper
from neural.layers import BatchNorm, Dense, Dropout, LeakyReLU, Reshape, Sigmoid
from neural.penalties import CodeL1, KLSparsity

ROWS, VISIBLE = 6, 8


def batches(device, count=8):
    """Different rows, always in the same array."""
    fixed = device.empty((ROWS, VISIBLE), np.float32)
    for i in range(count):
        fixed[...] = device.asarray((np.random.default_rng(i).random((ROWS, VISIBLE)) < 0.4).astype(np.float32))
        yield fixed


@pytest.mark.parametrize("capture", [True, False])
def test_a_function_gets_the_same_memory_at_each_call_and_others_do_not(capture):
    graph, other = Graph(CPU), Graph(CPU)

    def addresses():
        arrays = CPU.empty(3, np.float32), CPU.empty(3, np.float32)
        return [array.ctypes.data for array in arrays]

    first = graph(addresses, capture=capture)
    assert len(set(first)) == 2
    assert graph(addresses, capture=capture) == first
    assert not {*first} & {*other(addresses), *addresses()}


def test_a_kind_is_captured_at_its_third_call_and_replayed_then(strict):
    device = strict
    graph, calls, total = Graph(device), [], device.zeros(1, np.float32)

    def function(kind):
        calls.append(kind)
        total[...] += kind
        return total * 2

    for kind in (1, 10):
        found = [float(device.to_host(graph(functools.partial(function, kind), (), kind))[0]) for _ in range(5)]
        assert calls.count(kind) == 3
        assert np.diff(found).tolist() == [2 * kind] * 4
    assert float(device.to_host(total)[0]) == 55


def test_other_inputs_are_captured_anew(strict):
    device = strict
    graph, total = Graph(device), device.zeros(2, np.float32)

    def function(x):
        total[...] += x

    for value in (1, 10):
        x = device.asarray(np.full(2, value, np.float32))
        for _ in range(4):
            graph(functools.partial(function, x), (x,))
    assert device.to_host(total).tolist() == [44, 44]


def test_on_a_cpu_and_for_ever_new_kinds_it_is_a_plain_call(strict):
    calls = []
    graph = Graph(CPU)
    for _ in range(5):
        graph(functools.partial(calls.append, 0))
    assert len(calls) == 5
    graph = Graph(strict)
    for kind in range(3 * module._KINDS):
        graph(functools.partial(calls.append, 0), (), kind)
        assert len(graph._known) <= module._KINDS
    assert len(calls) == 5 + 3 * module._KINDS


def test_what_makes_the_host_wait_is_not_captured(strict):
    device = strict
    graph = Graph(device)
    function = functools.partial(device.to_host, device.zeros(1, np.float32))
    for _ in range(2):
        graph(function)
    with pytest.raises(SyncError, match="copies"):
        graph(function)


def _machine_step(device, rule, hidden=(5,), optimizer=SGD(0.1, momentum=0.5), **options):
    visible = options.pop("visible", VISIBLE)
    machine = RBM(visible, *hidden, device=device) if len(hidden) == 1 else DBM([visible, *hidden], device=device)
    options = {"batch_size": ROWS, "steps_per_epoch": 10, "seed": 1, "measure_every": 3} | options
    return Step(machine, rule, optimizer, **options), [machine.parameters]


def _up_down(device, rule):
    dbn = DBN([VISIBLE, 6, 5], device=device)
    step = UpDown(dbn, rule, Adam(0.01), batch_size=ROWS, steps_per_epoch=10, seed=1, measure_every=3)
    return step, dbn.parts.values()


def _network_step(device, make, **options):
    """What `fit` makes of a model's objective."""
    model, found = make(device), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neural.training.train", lambda step, *_, **__: found.append(step))
        model.fit((np.random.default_rng(0).random((20, VISIBLE)) < 0.5).astype(np.float32), batch_size=ROWS, **options)
    return found[0], [model.parameters]


def _autoencoder(device):
    encoder = [Dense(6), BatchNorm(), LeakyReLU(0.1), Dropout(0.2), Dense(3), Sigmoid()]
    corruption, penalties = SaltAndPepper(0.2), [CodeL1(0.01), KLSparsity(0.1, 0.1)]
    decoder = [Dense(VISIBLE)]
    return Autoencoder(encoder, decoder, inputs=VISIBLE, corruption=corruption, code_penalties=penalties, device=device, seed=1)


def _gan(device, **options):
    generator, judge = (
        [Dense(6), BatchNorm(), LeakyReLU(0.2), Dense(VISIBLE), Sigmoid()],
        [Reshape(VISIBLE), Dense(5), Dense(1)],
    )
    model = GAN(generator, judge, latent=3, inputs=VISIBLE, device=device, seed=1)
    optimizer = Adam(1e-2, beta1=0.5)
    return AdversarialStep(model, optimizer, optimizer, steps_per_epoch=10, seed=1, **options), list(model.parts.values())


STEPS = {
    "CD": lambda device: _machine_step(device, CD(2), penalties=[WeightDecay(1e-3)]),
    "centered": lambda device: _machine_step(device, CD(1), centered=True),
    "sparse": lambda device: _machine_step(device, CD(1), penalties=[SparsityTarget(0.1, 0.5), MaxNorm(0.5)]),
    "scheduled": lambda device: _machine_step(
        device, CD(lambda epoch: 1 + (epoch >= 0.4)), optimizer=SGD(lambda t: 0.1 - 0.01 * t)
    ),
    "PCD": lambda device: _machine_step(device, PCD(2, 4)),
    "FastPCD": lambda device: _machine_step(device, FastPCD(1, 4)),
    "tempering": lambda device: _machine_step(device, ParallelTempering(1, levels=3)),
    "TAP": lambda device: _machine_step(device, TAP()),
    "exact": lambda device: _machine_step(device, Exact()),
    "Gaussian": lambda device: _machine_step(device, CD(1), (5,), visible=Gaussian(VISIBLE)),
    "ReLU": lambda device: _machine_step(device, CD(1), (ReLU(5),)),
    "Softmax": lambda device: _machine_step(device, CD(1), (Softmax(4),)),
    "DBM": lambda device: _machine_step(device, PCD(2, mean_field=3), (6, 5)),
    # more arrays than a captured concatenation can have
    "ten kinds": lambda device: _machine_step(device, CD(1), (Joint(*[Softmax(2), Bernoulli(1)] * 5),)),
    "up-down": lambda device: _up_down(device, PCD(2)),
    "autoencoder": lambda device: _network_step(device, _autoencoder),
    "VAE": lambda device: _network_step(
        device, lambda on: VAE([VISIBLE, 6], latent=3, device=on, seed=1), beta=lambda epoch: 0.1 + epoch, samples=2
    ),
    "GAN": lambda device: _gan(device),
    "GAN, minimax": lambda device: _gan(device, loss="minimax", discriminator_steps=2),
}


@pytest.mark.parametrize("name", ["strict", pytest.param("gpu", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("make", STEPS.values(), ids=list(STEPS))
def test_replayed_steps_are_the_steps(make, name, request, monkeypatch):
    device = request.getfixturevalue("strict") if name == "strict" else get(name)
    found, captured, capture = [], [], device.capture
    monkeypatch.setattr(device, "capture", lambda function: captured.append(function) or capture(function))
    for captures in (False, True):
        monkeypatch.setattr(device, "captures", captures)
        step, parameters = make(device)
        metrics = [device.to_host(x) for v in batches(device) for x in step(v).values()]
        found.append([device.to_host(p.buffer) for p in parameters] + metrics)
        assert bool(captured) is captures
    assert len(found[0]) == len(found[1]) > 1
    for x, y in zip(*found, strict=True):
        np.testing.assert_allclose(x, y, rtol=0 if name == "strict" else 1e-5)
        assert np.isfinite(x).all()


def _queued(device, step, monkeypatch):
    """How many operations a replayed step queues where products are cuBLAS's, one each."""

    def product(a, b, out, alpha, beta, precision=None, row=None):
        device.do(lambda: module_of_products._array_product(*(x._host for x in (a, b, out)), alpha, beta))

    monkeypatch.setattr(device, "name", "gpu")
    monkeypatch.setattr(module_of_products.cublas, "product", product)
    monkeypatch.setattr(device, "empty", lambda shape, dtype: device.array_type(CPU.empty(shape, dtype)))
    captured, capture = [], device.capture

    def counted(function):
        return capture(lambda: (function(), captured.append(len(device.captured)))[0])

    monkeypatch.setattr(device, "capture", counted)
    for v in batches(device):
        step(v)
    return captured[-1]


def _sigmoids(device):
    dense = [Dense(7), Sigmoid(), Dense(6), Sigmoid(), Dense(3)], [Dense(6), Sigmoid(), Dense(7), Sigmoid(), Dense(VISIBLE)]
    return Autoencoder(*dense, inputs=VISIBLE, device=device, seed=1)


# So many operations has a step that measures nothing: products with their biases, samples or means, for the gradient as many products as
# there are phases and connections and the sums for every two layers, the update. PCD copies its chains, and clears the residual of mean
# field that there is none of. The autoencoder has 6 products forward and 11 back, 4 and 4 sigmoids, 6 sums; 7 for the loss and Adam. The
# VAE has 4 products and 7, 2 and 2 hyperbolic tangents, 4 sums, 2 for the codes and one back; 9 for loss, divergence and Adam.
OPERATIONS = {
    "CD": (lambda device: _machine_step(device, CD(1), penalties=[WeightDecay(1e-3)], measure_every=None), 10),
    "PCD": (lambda device: _machine_step(device, PCD(1, 4), measure_every=None), 12),
    "autoencoder": (lambda device: _network_step(device, _sigmoids), 38),
    "VAE": (lambda device: _network_step(device, lambda on: VAE([VISIBLE, 6], latent=3, device=on, seed=1)), 31),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_step_is_few_operations(name, hostcuda, monkeypatch):
    make, expected = OPERATIONS[name]
    step, _ = make(hostcuda)
    assert _queued(hostcuda, step, monkeypatch) == expected


def test_functions_as_rules_are_called_each_time(strict):
    calls = []

    def rule(machine, v, chains, stream):
        calls.append(1)
        return CD(1)(machine, v, chains, stream)

    device = strict
    step, _ = _machine_step(device, rule)
    for v in batches(device):
        step(v)
    assert len(calls) == 8


@pytest.mark.parametrize("sizes", [(8, 5), (8, 6, 5), (8, 6, 5, 4), (Gaussian(8), 5), (8, ReLU(5))], ids=str)
def test_annealing(sizes, strict, monkeypatch):
    found = []
    for captures in (False, True):
        monkeypatch.setattr(strict, "captures", captures)
        machine = RBM(*sizes, device=strict, seed=2) if len(sizes) == 2 else DBM(sizes, device=strict, seed=2)
        base = [strict.zeros(machine.layers[i].units.size, np.float32) for i in machine.blocks[0]]
        path, stream = Path(machine, base), Stream(1, "sample", strict)
        states = path.draw_base(4, stream)
        stream.advance_()
        found.append(strict.to_host(path.anneal(states, np.linspace(0, 1, 12), stream)))
    np.testing.assert_array_equal(*found)
    assert found[0].any()
