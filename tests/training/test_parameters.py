import numpy as np
import pytest

from ebm.compute.device import ALIGNMENT
from ebm.training.parameters import Parameters

SHAPES = {"weights": (5, 3), "bias.0": (5,), "bias.1": (3,), "tensor": (2, 3, 4)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_views_lie_apart_in_one_buffer_on_cache_lines(dtype):
    parameters = Parameters(SHAPES, dtype)
    assert list(parameters) == list(SHAPES)
    assert parameters.buffer.dtype == np.dtype(dtype)
    assert (parameters.buffer == 0).all()
    for number, (name, shape) in enumerate(SHAPES.items(), 1):
        view, segment = parameters[name], parameters.segments[name]
        assert view.shape == shape
        assert view.flags.c_contiguous
        assert view.ctypes.data % ALIGNMENT == 0
        view[...] = number
        assert (parameters.buffer[segment.start : segment.stop] == number).all()
    # every element belongs to one array or to the padding between them
    assert parameters.buffer.sum() == sum(i * np.prod(shape) for i, shape in enumerate(SHAPES.values(), 1))


def test_matrices_are_weights():
    segments = Parameters(SHAPES).segments
    assert [s.is_weights for s in segments.values()] == [True, False, False, True]
    assert all(s.rate == 1 and not s.frozen for s in segments.values())


def test_zeros_like_has_the_layout_and_nothing_in_common():
    parameters = Parameters(SHAPES, "float64")
    parameters.buffer[...] = 1
    other = parameters.zeros_like()
    assert other.segments == parameters.segments
    assert other.buffer.dtype == np.float64
    assert (other.buffer == 0).all()
    assert other.named_arrays().keys() == SHAPES.keys()
    assert not np.shares_memory(other.buffer, parameters.buffer)


def test_states_come_back():
    parameters, other = Parameters(SHAPES), Parameters(SHAPES)
    parameters.buffer[...] = np.arange(parameters.buffer.size)
    state = parameters.state_dict()
    assert not np.shares_memory(state["weights"], parameters.buffer)
    other.load_state_dict(dict(reversed(state.items())))
    for name in SHAPES:
        np.testing.assert_array_equal(other[name], parameters[name])


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("bias.1"),
        lambda state: state.update(more=np.zeros(1)),
        lambda state: state.update({"bias.1": np.zeros(4)}),
        lambda state: state.update(weights=state["weights"].T),
    ],
)
def test_other_states_are_refused_before_anything_is_written(change):
    parameters = Parameters(SHAPES)
    state = {name: np.ones(shape) for name, shape in SHAPES.items()}
    change(state)
    with pytest.raises(ValueError, match=r"found parameters \{.*\}; expected \{'weights': \(5, 3\)"):
        parameters.load_state_dict(state)
    assert (parameters.buffer == 0).all()
