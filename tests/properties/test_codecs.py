"""What goes over the wire and into small files comes back as it was, or as near as it says."""

import json
import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.drawn import examples, tried

from steerwidgets.dictionaries.evidence import log_counts, value_levels
from steerwidgets.widgets.arrays import DTYPES, decode_array, encode_array, exact, pack, unpack
from steerwidgets.widgets.lens.wire import plain

SHAPES = st.lists(st.integers(0, 4), max_size=3)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)


@st.composite
def arrays(draw, dtypes=DTYPES):
    """Any bits of a dtype, NaN and infinities too, in either byte order and any layout."""
    dtype, shape = np.dtype(draw(st.sampled_from(dtypes))), draw(SHAPES)
    count = math.prod(shape) * dtype.itemsize
    made = np.frombuffer(draw(st.binary(min_size=count, max_size=count)), dtype=dtype).reshape(shape)
    if dtype.name == "bool":
        made = made.view(np.uint8) % 2 == 1
    made = made.astype(dtype.newbyteorder(draw(st.sampled_from("<>"))))
    if draw(st.booleans()):
        made = made.T
    return made[::-1] if made.ndim and draw(st.booleans()) else made


def same(one, other):
    return one.shape == other.shape and one.dtype.name == other.dtype.name and one.tobytes() == other.tobytes()


@given(arrays())
@examples(250)
def test_an_array_comes_back_to_the_bit(array):
    whole = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    assert same(decode_array(encode_array(array)), whole)
    assert same(unpack(json.loads(json.dumps(pack(array)))), whole)


@given(VALUES | st.fixed_dictionaries({"data": VALUES, "dtype": st.sampled_from(DTYPES) | VALUES, "shape": VALUES}))
@examples(250)
def test_what_is_no_array_is_refused_by_a_sentence(value):
    """Whatever came: never another error, and no memory taken for what was only announced."""
    for read in (decode_array, unpack):
        _, error = tried(lambda read=read: read(value))
        assert error is None or (type(error) is ValueError and str(error).endswith(".")), repr(error)


@given(arrays(("float32",)))
@examples(100)
def test_a_short_number_is_the_same_number(array):
    for number in array.ravel():
        told = exact(number)
        assert np.float32(told) == number or (math.isnan(told) and np.isnan(number))
        assert not math.isfinite(told) or len(repr(told)) <= len(repr(float(number)))


@given(arrays(("float32", "int32", "uint8")))
@examples(100)
def test_a_packed_value_as_plain_json(array):
    listed = json.loads(json.dumps(plain({"a": [pack(array)]}), allow_nan=False))["a"][0]
    again = np.array(listed, dtype=object).ravel()
    numbers = np.ravel(array)
    assert len(again) == len(numbers)
    for told, number in zip(again, numbers, strict=True):
        assert (told is None) == (not np.isfinite(number))
        assert told is None or array.dtype.type(told) == number


@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=12))
@examples(150)
def test_a_quantised_track_is_within_half_a_step(values):
    track = torch.tensor([values])
    top = track.max(dim=-1).values
    levels = value_levels(track, top)
    assert levels.dtype == torch.uint8
    back = levels.double() / 255 * top.double()[:, None]
    assert ((back - track.double()).abs() <= 0.5 / 255 * top.double() * (1 + 1e-4) + 1e-30).all()
    assert bool((levels == 255).any()) or bool(top < 2e-30), "the largest is whole"


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=12))
@examples(150)
def test_a_count_is_within_a_sixteenth_of_a_doubling(counts):
    levels = log_counts(torch.tensor(counts))
    for count, level in zip(counts, levels.tolist(), strict=True):
        told = level / 8
        assert abs(told - math.log2(count + 1)) <= 1 / 16 + 1e-6
        assert (level == 0) == (count == 0)
