"""Arrow arrays from Python values without `pyarrow.array`."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irtd_datasets.arrow import from_numpy, to_array, to_numpy


@pytest.fixture(autouse=True)
def no_pandas(monkeypatch):
    """As in a process that has not imported pandas; in one that has, `to_array` is `pyarrow.array`."""
    monkeypatch.delitem(sys.modules, "pandas", raising=False)


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
_VALUES = {
    pa.string(): _TEXTS,
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(),
}


def _values(kind):
    if pa.types.is_list(kind):
        return st.lists(st.none() | _values(kind.value_type), max_size=3)
    if pa.types.is_struct(kind):
        return st.fixed_dictionaries({field.name: st.none() | _values(field.type) for field in kind})
    return _VALUES[kind]


_TYPES = [
    *_VALUES,
    pa.list_(pa.string()),
    pa.list_(pa.list_(pa.float32())),
    pa.struct([("label", pa.list_(pa.string())), ("number", pa.int32())]),
    pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
]


def _bitmaps(array):
    """Whether each array in an array has a bitmap of nulls."""
    inner = []
    if pa.types.is_list(array.type):
        inner = [array.values]
    elif pa.types.is_struct(array.type):
        inner = [array.field(index) for index in range(array.type.num_fields)]
    return [array.buffers()[0] is not None, *(flag for child in inner for flag in _bitmaps(child))]


@pytest.mark.parametrize("kind", _TYPES, ids=str)
def test_arrays_equal_those_of_pyarrow(kind):
    """Values, null counts and bytes in memory are those of `pyarrow.array`, whatever the values."""

    @settings(deadline=None)
    @given(st.lists(st.none() | _values(kind), max_size=5))
    def check(values):
        ours, theirs = to_array(values, kind), pa.array(values, type=kind)
        ours.validate(full=True)
        assert repr(ours.to_pylist()) == repr(theirs.to_pylist())  # NaN equals NaN in text
        assert ours.null_count == theirs.null_count
        if values:
            assert _bitmaps(ours) == _bitmaps(theirs)
            assert ours.nbytes == theirs.nbytes

    check()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1], pa.string()),
        (["1"], pa.int32()),
        ([2**31], pa.int32()),
        ([2**63], pa.int64()),
        (["x"], pa.float32()),
        ([1], pa.list_(pa.string())),
        ([["x"]], pa.list_(pa.int32())),
        ([{"a": "x"}], pa.struct([("a", pa.int32())])),
        (["\ud800"], pa.string()),
    ],
)
def test_wrong_values_fail_as_in_pyarrow(values, kind):
    """What `pyarrow.array` refuses is refused with the same error."""
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - whatever it is
        pa.array(values, type=kind)
    with pytest.raises(type(theirs.value)) as ours:
        to_array(values, kind)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([True, 1], pa.int32()),
        ([np.int32(3)], pa.int64()),
        ([1, 2.5], pa.float32()),
        ([1.5], pa.int32()),
        (["x"], pa.list_(pa.string())),
        ([np.str_("x")], pa.string()),
        ([{"b": 1}], pa.struct([("a", pa.int32())])),
        ([None, {"a": 1}], pa.struct([("a", pa.int32())])),
        ([1], pa.uint8()),
        ([np.array([1, 2])], pa.list_(pa.int32())),
    ],
)
def test_unusual_values_are_left_to_pyarrow(values, kind):
    """What the fast way does not know has the outcome that `pyarrow.array` gives it."""
    try:
        theirs = pa.array(values, type=kind)
    except (pa.ArrowException, TypeError) as error:
        with pytest.raises(type(error)):
            to_array(values, kind)
    else:
        assert to_array(values, kind).equals(theirs)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("missing", [None, [False] * 9, [True] * 9, [False, True] * 4 + [False]])
def test_numbers_of_numpy_are_as_pyarrow_takes_them(dtype, missing):
    """Also where they are a part of an array, and of every second element of one."""
    values = np.arange(-9, 9).astype(dtype)[::2]
    mask = None if missing is None else np.array(missing)
    made, theirs = from_numpy(values, mask), pa.array(values, mask=mask)
    made.validate(full=True)
    assert made.equals(theirs)
    assert made.type == theirs.type
    assert made.null_count == theirs.null_count


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint32(), pa.int64(), pa.float32(), pa.float64(), pa.bool_()])
@pytest.mark.parametrize("values", [[], [1, 0, 1] * 7, [None, 1, 0] * 7, [None] * 3])
@pytest.mark.parametrize("part", [slice(None), slice(1, None), slice(3, 17)])
def test_numbers_and_booleans_reach_numpy(kind, values, part):
    """Whole arrays and parts of one, whose bits begin anywhere."""
    values = [None if value is None else (bool if kind == pa.bool_() else int)(value) for value in values]
    array = pa.array(values, kind)[part]
    expected = array.fill_null(1 if kind != pa.bool_() else True).to_numpy(zero_copy_only=False)
    found = to_numpy(array, 1)
    assert found.dtype == expected.dtype
    assert found.tolist() == expected.tolist()


WRITE = """
import sys
{first}
from irtd_datasets.rows.groups import GroupCutter
from irtd_datasets.writing.shards import open_shard
from pathlib import Path
row = {{
    "id": "irtd/x", "modality": 0, "task": 1, "source": None, "messages": [{{"role": "user", "content": "ä"}}],
    "question": None, "choices": ["a"], "answer": None,
    "objects": {{"label": ["car"], "box": [[1.0, 2.0, 3.0, 4.0]], "polygon": [], "point": []}},
    "box_frame": None, "width": 1, "height": 1, "bit_depth": 8, "image_note": "", "issues": [], "corrections": [],
}}
cutter = GroupCutter()
with open_shard(Path(sys.argv[1])) as writer:
    assert not list(cutter.add("p.jpg", [row, row], b"image"))
    for group in cutter.rest():
        writer.write(group)
print(writer.summary.sha256, [name for name in ("pandas", "datasets") if name in sys.modules])
"""
LEAVE_OUT = "from irtd_datasets.arrow import leave_pandas_out; leave_pandas_out()"


def test_a_shard_is_written_without_pandas(tmp_path):
    """Writing rows imports neither pandas nor datasets in a process that leaves pandas out, as each worker does.

    It gives the same bytes in a process that has pandas.
    """
    outputs = []
    for first in (LEAVE_OUT, "import pandas"):
        program = WRITE.format(first=first)
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path / "a.parquet"],
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append(done.stdout.split(" ", 1))
    assert len({digest for digest, _ in outputs}) == 1
    assert [imported for _, imported in outputs] == ["[]\n", "['pandas']\n"]


def test_leaving_pandas_out_takes_arrows_own_way():
    """In such a process `pyarrow.array` is called for everything, and does not import pandas; others can."""
    program = f"""
import sys
from unittest import mock
import pyarrow as pa
import irtd_datasets.arrow as arrow
{LEAVE_OUT}
with mock.patch.object(arrow, "_fast", side_effect=AssertionError):
    print(arrow.to_array(["a", None], pa.string()).to_pylist(), "pandas" in sys.modules, end=" ")
import pandas
print(pandas.DataFrame is not None)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['a', None] False True\n"
