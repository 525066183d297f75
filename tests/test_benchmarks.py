"""The benchmarks run in their quick form, refuse contestants that compute something else, and account for all of a step's time."""

from __future__ import annotations

import importlib
import json
import os
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from benchmarks import kernels, machines, profile, scaling, timing
from benchmarks.machines import Machine
from benchmarks.timing import Contestant, Local, Process

SMALL = Machine((30, 20), 20)
TORCH = find_spec("torch") is not None


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's threads wait for each other where other tests have the cores."""
    if TORCH:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        importlib.import_module("torch").set_num_threads(1)


def run(name: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """The figures of a quick run, which also draws."""
    written, drawn = folder / "new" / f"{name}.json", folder / "new" / f"{name}.png"
    command = ["--quick", "--json", str(written), "--plot", str(drawn), *arguments]
    importlib.import_module(f"benchmarks.{name}").main(command)
    assert imread(drawn)[:, :, :3].std() > 0.02
    record = json.loads(written.read_text())
    assert {"subject", "date", "commit", "machine", "versions", "settings", "seconds"} <= record.keys()
    return record


OURS = {"ours", "ours, bfloat16", "products alone", "products alone, bfloat16"}


@pytest.mark.parametrize(
    ("name", "arguments", "peers"),
    [
        ("rbm", (), {"torch", "torch, tuned", "torch, bfloat16"}),
        ("rbm", ("--steps", "3", "--chains", "25"), {"torch", "torch, tuned", "torch, bfloat16"}),
        ("dbm", (), {"torch", "torch, tuned", "torch, bfloat16"}),
        ("autoencoder", (), {"torch", "torch, fused", "torch, autocast"}),
        ("vae", (), {"torch", "torch, fused", "torch, autocast"}),
    ],
)
def test_a_race_is_run_and_written(name, arguments, peers, tmp_path, capsys):
    record = run(name, tmp_path, "--peers", "torch", *arguments)
    expected = OURS | peers if TORCH else OURS
    assert record["seconds"].keys() == record["first_call"].keys() == expected
    assert all(len(values) == 2 and min(values) > 0 for values in record["seconds"].values())
    printed = capsys.readouterr().out
    assert printed.count("least cosine of the changes") == len(expected) - 3
    assert TORCH or "torch is not installed: pip install torch" in printed


def test_scikit_learn_is_timed_where_it_does_the_same(tmp_path):
    timed = run("rbm", tmp_path, "--peers", "sklearn")["seconds"].keys()
    assert {"sklearn, partial_fit", "sklearn, fit"} <= timed
    assert not any("sklearn" in name for name in run("rbm", tmp_path, "--peers", "sklearn", "--chains", "9")["seconds"])


def test_annealing_is_compared_by_ln_z(tmp_path, capsys):
    record = run("ais", tmp_path, "--peers", "torch")
    assert {"ours", "products alone"} <= record["seconds"].keys()
    assert "ln Z less that of the base, ours: " in capsys.readouterr().out


def test_what_is_not_there_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(timing, "find_spec", lambda name: None if name == "jax" else True)
    monkeypatch.setattr(timing, "which", lambda name: None)
    record = run("dbm", tmp_path, "--peers", "compile,jax", "--without", "bfloat16")
    assert record["seconds"].keys() == {"ours", "products alone"}
    printed = capsys.readouterr().out
    assert "without torch.compile: torch.compile needs a C++ compiler, and neither g++, clang++ nor cl is there" in printed
    assert "without jax: jax is not installed: pip install 'jax[cpu]'" in printed


def test_unknown_peers_are_refused(capsys):
    with pytest.raises(SystemExit):
        importlib.import_module("benchmarks.rbm").main(["--peers", "torch,tourch"])
    assert "unknown peers ['tourch']; known are torch, compile, jax, sklearn" in capsys.readouterr().err


def moving(by: float) -> Contestant:
    weights = np.ones((4, 5))

    def call() -> None:
        weights[0] += by
        weights[1] += 1

    return Contestant(call, lambda: [weights])


@pytest.mark.parametrize("by", [-1.0, 0.0, 1.3])
def test_contestants_that_move_otherwise_are_refused(by, capsys):
    timing.check({"ours": Local(partial(moving, 1.0)), "same": Local(partial(moving, 1.05))})
    with pytest.raises(SystemExit, match="other and ours do not compute the same thing"):
        timing.check({"ours": Local(partial(moving, 1.0)), "other": Local(partial(moving, by))})


def of_the_environment() -> Contestant:
    value = float(os.environ["BENCHMARKED"])
    return Contestant(lambda: None, lambda: [np.full(2, value + os.getpid())], steps=10)


def broken() -> Contestant:
    raise RuntimeError("planted")


def test_a_process_has_its_own_environment_and_ends(capfd):
    start = partial(Process, of_the_environment, None, {"BENCHMARKED": "0.5"})
    with timing.running({"it": start}) as contestants:
        process = contestants["it"]
        assert isinstance(process, Process)
        assert "BENCHMARKED" not in os.environ
        assert process.trains
        assert process.ready >= 0
        assert 0 < process.seconds(30) < 0.1
        np.testing.assert_array_equal(process.change(3)[0], [0, 0])
    assert process._process.exitcode == 0
    with pytest.raises(SystemExit, match="a contestant's process has ended; its error is above"):
        Process(broken)
    assert "planted" in capfd.readouterr().err


def test_steps_of_a_call_share_its_time():
    calls: list[int] = []
    local = Local(lambda: Contestant(lambda: calls.append(1), steps=20))
    local.seconds(100)
    assert len(calls) == 1 + 1 + 5  # to be ready, to be warm, and 100 steps


def test_every_kernel_is_timed_against_its_reference(tmp_path):
    record = run("kernels", tmp_path)
    assert record["kernels"].keys() == {kernel.name for members in kernels.kernels().values() for kernel in members}
    assert all(len(record["seconds"][name]) == len(record["seconds"][f"NumPy: {name}"]) == 2 for name in record["kernels"])
    # field and out, both float32, and nothing else
    assert record["kernels"]["logistic"]["bytes"] == 8 * record["kernels"]["logistic"]["elements"]


def test_a_kernel_that_computes_something_else_is_refused():
    kernel = next(k for members in kernels.kernels().values() for k in members if k.name == "logistic_sample")
    given = kernels.inputs(kernel, 10, 80, 100)
    found = kernels.seconds(kernel, given, 1)[1]
    kernels.check(kernel, found, kernels.seconds(kernel.reference, given, 1)[1])
    with pytest.raises(SystemExit, match="kernel logistic_sample: field is not what the reference makes of it"):
        kernels.check(kernel, [found[0] + 0.01, *found[1:]], found)


def test_sizes_and_threads_are_walked_through(tmp_path, capsys):
    seconds = run("scaling", tmp_path)["seconds"]
    for axis, machines_ in scaling.axes(True).items():
        assert {f"{axis} {n}, {who}" for n in machines_ for who in ("ours", "floor")} <= seconds.keys()
    assert [name for name in seconds if name.startswith("outside joblib")]
    assert "times the floor" in capsys.readouterr().out


@pytest.mark.parametrize("subject", ["rbm", "dbm", "autoencoder"])
def test_a_profile_accounts_for_the_whole_step(subject, tmp_path):
    record = run("profile", tmp_path, subject)
    families = {name: value for name, value in record["seconds"].items() if not name.startswith("step")}
    assert {"products", "means", "update", "batch", profile.OVERHEAD} <= families.keys()
    assert sum(families.values()) == pytest.approx(record["seconds"]["step, watched"])
    assert all(value > 0 for value in families.values())
    assert ("sampling" in families) == (subject != "autoencoder")


def test_a_profile_of_a_device_that_captures(strict, tmp_path):
    families = run("profile", tmp_path, "rbm", "--device", "strict")["seconds"].keys()
    assert {"products", "means", "sampling", "update", "batch", profile.OVERHEAD} <= families
    assert strict.captures


def test_a_profile_counts_the_calls_of_a_step_and_takes_its_watch_away():
    from ebm import machine
    from ebm.compute.gemm import gemm
    from ebm.compute.kernel import Kernel

    call = Kernel.__call__
    _, record = profile.profile(machines.training(SMALL), 1, 4)
    counts = {key: value / 4 for key, value in record.calls.items()}
    assert sum(value for (what, _), value in counts.items() if what == "products") == 5
    assert counts["reductions", "row_sums"] == 1
    assert counts["sampling", "logistic_sample"] == 2
    assert counts["update", "momentum_step"] == counts["batch", "gathering"] == 1
    assert machine.gemm is gemm
    assert Kernel.__call__ is call


def products(machine: Machine, make: Any) -> list[tuple[int, ...]]:
    """The shapes of the products of a call."""
    found: list[tuple[int, ...]] = []
    record = profile.Record(lambda: None)
    with profile.watched(record):
        contestant = make(machine)
        record.calls.clear()
        contestant.call()
    for (what, shape), calls in record.calls.items():
        found += [(what, shape)] * calls if what == "products" else []
    return sorted(found)


def test_the_floor_has_the_products_of_the_step(monkeypatch):
    """But for one of a deep machine, which asks twice for the field that the data give."""
    for machine in (SMALL, Machine((30, 20), 20, steps=3), Machine((30, 20), 20, steps=2, chains=25)):
        assert products(machine, machines.products_alone) == products(machine, machines.ours)
    deep = Machine((30, 20, 10), 20, steps=2, chains=25)
    floor, step = (products(deep, make) for make in (machines.products_alone, machines.ours))
    assert 0 <= len(step) - len(floor) <= 1


def ending(place: Path) -> Contestant:
    """One whose process ends at its second call, or where `place` is there already, at once."""

    def call() -> None:
        if place.exists():
            os._exit(1)
        place.touch()

    return Contestant(call)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("peer", ["torch", None])
def test_a_peer_whose_process_ends_is_left_out(at_once, peer, tmp_path, capsys):
    place = tmp_path / "called"
    if at_once:
        place.touch()
    options = SimpleNamespace(without=(), peers="torch", known=(), quick=False, rounds=2, calls=1)
    entries = {"ours": (None, partial(Contestant, int)), "theirs": (peer, partial(ending, place))}
    if peer is None:
        with pytest.raises(SystemExit, match="a contestant's process has ended; its error is above"):
            timing.contest(options, entries, check=lambda contestants: None)
        return
    times, ready = timing.contest(options, entries, check=lambda contestants: None)
    assert {name: len(values) for name, values in times.items()} == {"ours": 2}
    assert ready.keys() == {"ours"}
    assert "without theirs, whose process has ended; its error is above" in capsys.readouterr().out


def test_the_gpu_command_says_that_there_is_none(monkeypatch):
    from benchmarks import gpu

    def no_gpu(name: str) -> None:
        raise RuntimeError("CuPy finds no GPU")

    monkeypatch.setattr(gpu.devices, "get", no_gpu)
    with pytest.raises(SystemExit, match="there is no GPU here, and nothing was timed: CuPy finds no GPU"):
        gpu.main([])


def test_the_gpu_command_is_rehearsed(tmp_path, capsys):
    from benchmarks import gpu

    written = tmp_path / "gpu.json"
    subjects = ("cd", "vae", "gan", "ais")
    drawn = tmp_path / "gpu.png"
    rehearsal = ["--quick", "--device", "cpu", "--peers", "torch", "--json", str(written), "--plot", str(drawn)]
    gpu.main([*rehearsal, "--only", *subjects])
    for subject in subjects:
        assert imread(tmp_path / f"gpu-{subject}.png")[:, :, :3].std() > 0.02
    record = json.loads(written.read_text())
    assert record["seconds"].keys() == set(subjects)
    assert record["checks"]["cd"] == {"elsewhere": 0.0, "nodes": "no graph on a CPU"}
    assert ("torch, tf32" in record["seconds"]["cd"]) == TORCH
    assert "ln Z less that of the base, ours: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("dbm", {"ours", "ours, uncaptured", "torch", "torch.compile", "torch, graph", "jax", "products alone"}),
        ("vae", {"ours", "ours, uncaptured", "torch", "torch.compile", "torch, graph", "jax", "products alone"}),
        ("gan", {"ours", "ours, uncaptured", "torch", "torch.compile", "torch, graph"}),
    ],
)
def test_all_peers_are_timed_on_a_gpu(subject, expected):
    from benchmarks import gpu

    found = gpu.entries(gpu.subjects(True)[subject], "gpu")
    precisions = ("", ", tf32", ", bfloat16") if "products alone" in expected else ("",)
    assert found.keys() == {f"{name}{precision}" for name in expected for precision in precisions}
    assert {name: peer for name, (peer, _) in found.items() if "," not in name} == {
        name: {"torch.compile": "compile", "torch": "torch", "jax": "jax"}.get(name) for name in expected if "," not in name
    }


def test_runs_of_tests_are_reported_and_may_fail(capsys):
    from benchmarks import gpu

    assert gpu.suite([sys.executable, "-c", "print('...'); print('3 passed in 1 s')"]) == "3 passed in 1 s"
    assert capsys.readouterr().out == "...\n3 passed in 1 s\n\n"
    with pytest.raises(SystemExit, match=r"-c import sys; .* ended with 9: 1 failed"):
        gpu.suite([sys.executable, "-c", "import sys; print('1 failed', file=sys.stderr); sys.exit(9)"])


@pytest.mark.parametrize("name", ["tests", "memcheck"])
def test_what_has_failed_on_a_gpu_is_written_and_said(name, tmp_path, monkeypatch):
    from benchmarks import gpu

    written = tmp_path / "gpu.json"
    properties = SimpleNamespace(getDeviceProperties=lambda number: {"name": b"none"})
    device = SimpleNamespace(xp=SimpleNamespace(cuda=SimpleNamespace(runtime=properties)))
    monkeypatch.setattr(gpu, "devices", SimpleNamespace(get=lambda name: device))
    monkeypatch.setitem(gpu.SUITES, name, ["no-such-checker"])
    with pytest.raises(SystemExit, match=f"failed: {name}"):
        gpu.main(["--only", name, "--json", str(written)])
    assert "no-such-checker" in json.loads(written.read_text())["checks"][name]["failed"]


def test_a_step_that_is_elsewhere_on_the_device_is_refused(monkeypatch):
    from benchmarks import gpu

    starts = iter((0.0, 1e-3))

    def training(device: str) -> timing.Training:
        made = machines.training(SMALL)
        made.step.machine.weights[...] += next(starts)
        return made

    with pytest.raises(SystemExit, match=r"of the weights are elsewhere on gpu than on the CPU; allowed are 1%"):
        gpu.check(training, "gpu")


@pytest.fixture
def drawn(strict: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The strict device, whose captured steps can be drawn, as CUDA's graphs."""

    class Graph:
        def __init__(self, replay: Any) -> None:
            self.replay = replay

        def launch(self) -> None:
            self.replay()

        def debug_dot_str(self) -> str:
            return '"node_0"'

    capture = strict.capture

    def captured(function: Any) -> Any:
        replay, result = capture(function)
        return Graph(replay).launch, result

    monkeypatch.setattr(strict, "capture", captured)
    return strict.name


@pytest.mark.parametrize("device", ["strict", pytest.param("gpu", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("subject", ["cd", "pcd", "dbm", "autoencoder", "vae", "gan"])
def test_a_step_is_the_cpus_and_the_same_when_it_is_replayed(subject, device, drawn):
    from benchmarks import gpu

    assert gpu.check(gpu.subjects(True)[subject].training, device)["nodes"] > 0


def test_the_nodes_of_a_step_at_the_end_of_an_epoch(drawn, monkeypatch):
    """The first batch of an epoch, of three batches here, can't be captured: the device refuses."""
    from benchmarks import gpu

    monkeypatch.setattr(Machine, "data", lambda self: np.random.default_rng(1).random((60, 30)).astype(np.float32))
    assert gpu.check(partial(machines.training, SMALL), drawn)["nodes"] == 1


def test_uncaptured_steps_leave_the_device_as_it_was(strict):
    from benchmarks import gpu

    plain = gpu.uncaptured(partial(machines.training, SMALL), {"device": "strict"})
    syncs = strict.syncs
    for _ in range(4):
        plain.call()
    assert strict.captures
    assert strict.syncs == syncs


@pytest.mark.parametrize("wrong", [False, True])
def test_replayed_steps_are_compared_with_steps(wrong, monkeypatch):
    """With a device that captures nothing, though it says so."""
    from benchmarks import gpu

    class Graph:
        def debug_dot_str(self) -> str:
            return '"node_0" "node_1" "node_0" -> "node_1"'

        def launch(self) -> None: ...

    fake = SimpleNamespace(captures=True, capture=lambda function: (Graph().launch, function()))
    monkeypatch.setattr(gpu, "devices", SimpleNamespace(get=lambda name: fake))
    steps = []

    def training(device: str) -> Any:
        made = machines.training(SMALL)

        def step(batch: Any) -> Any:
            steps.append(fake.captures)
            if wrong and fake.captures and len(steps) > 3:
                made.step.machine.weights[...] += 1e-3
            return made.step(batch)

        step.step = 0  # type: ignore[attr-defined]
        return timing.Training(step, made.batches, made.weights)

    if wrong:
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            gpu.check(training, "gpu")
    else:
        assert gpu.check(training, "gpu") == {"elsewhere": 0.0, "nodes": 2}
        assert steps.count(True) == 2 + gpu.STEPS
    assert fake.captures
