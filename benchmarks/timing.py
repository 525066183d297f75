"""Timing in turn: every contestant lives in a process of its own, and every round runs each of them once.

A machine whose speed drifts then slows all of them alike, and no library's threads share a process with another's. Rounds are to
be short against the drift: a shared server changed its speed by half every few seconds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from shutil import which
from typing import Any, TypeVar

import numpy as np

from benchmarks.figures import bars, table, write_json
from ebm.compute.gemm import library

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Contestant:
    """What is timed: `call` makes `steps` steps, of which `wait` waits for the last; `end` ends what it has started. `weights` are the
    arrays that it trains, as they are now; None where there is nothing to compare."""

    call: Callable[[], object]
    weights: Callable[[], list[np.ndarray]] | None = None
    wait: Callable[[], object] = lambda: None
    steps: int = 1
    end: Callable[[], object] = lambda: None


Make = Callable[[], Contestant]
# By name: the peer that a contestant belongs to, None for this toolkit, and how it is made.
Entries = Mapping[str, tuple[str | None, Make]]


@dataclass(frozen=True)
class Training:
    """A step of this toolkit, what hands it batches, and the weights that are compared."""

    step: Any
    batches: Any
    weights: Callable[[], list[np.ndarray]]
    wait: Callable[[], object] = lambda: None

    def __call__(self) -> Any:
        """One step of `fit`, the gathering of the batch included."""
        return self.step(self.batches.batch(*divmod(self.step.step, len(self.batches))))

    def contestant(self) -> Contestant:
        """This training as a contestant."""
        return Contestant(self, self.weights, self.wait)


@contextmanager
def plainly(device: Any) -> Iterator[None]:
    """Within the block, nothing is captured or replayed on a device."""
    before, device.captures = device.captures, False
    try:
        yield
    finally:
        device.captures = before


class Local:
    """A contestant in this process; `ready` are the seconds from nothing to the end of its first call, with compilation and imports.

    `checked` makes the same with sizes at which its changes of the weights can be told from noise.
    """

    def __init__(self, make: Make, checked: Make | None = None) -> None:
        start = time.perf_counter()
        self._contestant, self._checked = make(), checked
        self._contestant.call()
        self._contestant.wait()
        self.ready = time.perf_counter() - start
        self.trains = self._contestant.weights is not None

    def change(self, calls: int) -> list[np.ndarray]:
        """How the weights change over some calls."""
        contestant = self._contestant if self._checked is None else self._checked()
        assert contestant.weights is not None
        before = [array.copy() for array in contestant.weights()]
        for _ in range(calls):
            contestant.call()
        return [array - old for array, old in zip(contestant.weights(), before, strict=True)]

    def seconds(self, steps: int) -> float:
        """Seconds per step, the mean over `steps` steps that follow a tenth as many unmeasured ones."""
        contestant, calls = self._contestant, max(1, steps // self._contestant.steps)
        for _ in range(max(1, calls // 10)):
            contestant.call()
        contestant.wait()
        start = time.perf_counter()
        for _ in range(calls):
            contestant.call()
        contestant.wait()
        return (time.perf_counter() - start) / calls / contestant.steps

    def close(self) -> None:
        """End what it has started."""
        self._contestant.end()


class Ended(SystemExit):
    """The process of `contestant` has ended."""

    def __init__(self, contestant: Process) -> None:
        super().__init__("a contestant's process has ended; its error is above")
        self.contestant = contestant


class Process:
    """A contestant, made by calling `make` in a process of its own with these environment variables; otherwise a `Local`."""

    def __init__(self, make: Make, checked: Make | None = None, environment: Mapping[str, str] | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        # no daemon: those may not have the workers of joblib
        self._process = context.Process(target=_serve, args=(make, checked, other))
        with _environment(environment or {}):
            self._process.start()
        other.close()
        self.ready, self.trains = self._received()

    def change(self, calls: int) -> list[np.ndarray]:
        """As that of `Local`."""
        return self._ask("change", calls)

    def seconds(self, steps: int) -> float:
        """As that of `Local`."""
        return self._ask("seconds", steps)

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(5)
        self._process.terminate()

    def _ask(self, *request: Any) -> Any:
        self._pipe.send(request)
        return self._received()

    def _received(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            self.close()
            raise Ended(self) from None


def _serve(make: Make, checked: Make | None, pipe: Connection) -> None:
    local = Local(make, checked)
    pipe.send((local.ready, local.trains))
    try:
        while True:
            what, number = pipe.recv()
            pipe.send(getattr(local, what)(number))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass  # all is asked, or given up
    finally:
        local.close()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def running(
    contestants: Mapping[str, Callable[[], Local | Process]], dispensable: Collection[str] = ()
) -> Iterator[dict[str, Local | Process]]:
    """The contestants, started one after the other and ended at the end; those that are `dispensable` may fail."""
    with ExitStack() as stack:
        started: dict[str, Local | Process] = {}
        for name, start in contestants.items():
            try:
                started[name] = start()
            except Ended as error:
                _dispense_with(name, dispensable, error)
                continue
            stack.callback(started[name].close)
        yield started


def surviving(contestants: dict[str, Local | Process], dispensable: Collection[str], ask: Callable[[], Answer]) -> Answer:
    """What `ask` returns, which is asked again without a contestant that is `dispensable` and whose process has ended."""
    while True:
        try:
            return ask()
        except Ended as error:
            name = next(name for name, contestant in contestants.items() if contestant is error.contestant)
            _dispense_with(name, dispensable, error)
            del contestants[name]


def _dispense_with(name: str, dispensable: Collection[str], error: Ended) -> None:
    """Say that a contestant is left out, or raise the error where it must not be."""
    if name not in dispensable:
        raise error
    print(f"without {name}, whose process has ended; its error is above")


def check(contestants: Mapping[str, Local | Process], calls: int = 10) -> None:
    """Raise unless all contestants move all weights the same way in some calls, from the same ones."""
    changes = {name: contestant.change(calls) for name, contestant in contestants.items()}
    (first, reference), *others = changes.items()
    for name, change in others:
        norms = [[float(np.linalg.norm(array)) for array in arrays] for arrays in (change, reference)]
        cosines = [float((a * b).sum()) / x / y for a, b, x, y in zip(change, reference, *norms, strict=True)]
        ratios = [x / y for x, y in zip(*norms, strict=True)]
        found = f"{min(cosines):.4f}, ratios of lengths {min(ratios):.3f} to {max(ratios):.3f}"
        print(f"{name} against {first}: least cosine of the changes of weights {found}")
        if not (min(cosines) > 0.95 and 0.9 < min(ratios) <= max(ratios) < 1.1):
            raise SystemExit(f"{name} and {first} do not compute the same thing")


def in_turn(contestants: Mapping[str, Local | Process], rounds: int, steps: int, pause: float = 0.2) -> dict[str, list[float]]:
    """Seconds per step of each contestant in each round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            time.sleep(pause)  # until the last one's threads, which wait actively for a while, are asleep
            times[name].append(contestant.seconds(steps))
    return times


def command(doc: str | None, peers: Sequence[str] = (), rounds: int = 15, calls: int = 60, **sizes: int) -> Any:
    """The parser of a benchmark, with the options that all have and the whole numbers `sizes`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if peers:
        parser.add_argument("--peers", default=",".join(peers), help=f"comma-separated, of {', '.join(peers)}; or nothing")
        parser.add_argument(
            "--without", nargs="+", default=(), metavar="WORD", help="leave out whose names have one of these words"
        )
    for name, size in ({"rounds": rounds, "calls": calls} | sizes).items():
        parser.add_argument(f"--{name}", type=int, default=size, metavar="N", help=f"by default {size}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures, machine, versions and commit")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where to draw them")
    parser.add_argument(
        "--quick", action="store_true", help="see in seconds, in this process, that everything runs; no figures"
    )
    parser.set_defaults(known=tuple(peers))
    return parser


def parse(parser: Any, arguments: Sequence[str] | None, **quick: Any) -> Any:
    """The options; `quick` are the sizes of the quick form."""
    options = parser.parse_args(arguments)
    if options.quick:
        parser.set_defaults(rounds=2, calls=2, **quick)
        options = parser.parse_args(arguments)
    if options.known and (unknown := set(filter(None, options.peers.split(","))) - set(options.known)):
        parser.error(f"unknown peers {sorted(unknown)}; known are {', '.join(options.known)}")
    return options


def missing(peer: str) -> str | None:
    """What a peer lacks here: "torch", "compile" (PyTorch's), "jax" or "sklearn"."""
    module, install = {"sklearn": ("sklearn", "scikit-learn"), "jax": ("jax", "'jax[cpu]'")}.get(peer, ("torch", "torch"))
    if find_spec(module) is None:
        return f"{module} is not installed: pip install {install}"
    if peer == "compile" and not any(which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "cl")):
        return "torch.compile needs a C++ compiler, and neither g++, clang++ nor cl is there"
    return None


def contest(
    options: Any,
    entries: Entries,
    checked: Entries | None = None,
    check: Callable[[Mapping[str, Local | Process]], None] = check,
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Check and time the contestants: seconds per step in each round, and until the first was done. A peer that fails is left out.

    `checked` are those that are compared, with the sizes of the check; by default all as they are.
    """
    entries = {name: entry for name, entry in entries.items() if not any(word in name for word in options.without)}
    wanted = {None, *options.peers.split(",")}
    lacking = {peer: reason for peer in options.known if peer in wanted and (reason := missing(peer))}
    for peer, reason in lacking.items():
        print(f"without {', '.join(name for name, (needs, _) in entries.items() if needs == peer)}: {reason}")
    start = Local if options.quick else Process
    starts = {
        name: partial(start, make, checked[name][1] if checked and name in checked else None)
        for name, (peer, make) in entries.items()
        if peer in wanted - lacking.keys()
    }
    peers = {name for name, (peer, _) in entries.items() if peer is not None}
    with running(starts, peers) as contestants:

        def compare() -> None:
            check({name: c for name, c in contestants.items() if c.trains and (checked is None or name in checked)})

        surviving(contestants, peers, compare)
        pause = 0 if options.quick else 0.2
        times = surviving(contestants, peers, lambda: in_turn(contestants, options.rounds, options.calls, pause))
        return times, {name: contestant.ready for name, contestant in contestants.items()}


def race(options: Any, title: str, *contestants: Any, **how: Any) -> dict[str, float]:
    """A `contest`, whose figures are printed, drawn and written; returns the medians, in seconds."""
    times, ready = contest(options, *contestants, **how)
    title = f"{title}; BLAS: {library()}"
    print(f"\n{title}")
    print(table(times, [name for name in times if name.startswith("ours")], ready))
    if options.plot:
        bars(options.plot, title, times)
    if options.json:
        write_json(options.json, title, options, times, first_call=ready)
    return {name: statistics.median(values) for name, values in times.items()}
