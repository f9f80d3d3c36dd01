"""A value that is made quicker is the same value."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.value import quick


@dataclass(frozen=True, slots=True)
class Usual:
    """As dataclasses make it."""

    name: str
    size: int | None = None
    parts: tuple[int, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class Made:
    """The same fields, made quicker."""

    name: str
    size: int | None = None
    parts: tuple[int, ...] = ()


FIELDS = st.tuples(st.text(), st.none() | st.integers(), st.lists(st.integers()).map(tuple))


@given(FIELDS, FIELDS)
def test_it_is_equal_hashed_written_and_copied_as_before(one, other) -> None:
    made, usual = Made(*one), Usual(*one)
    assert (made.name, made.size, made.parts) == (usual.name, usual.size, usual.parts) == one
    assert (made == Made(*other)) is (usual == Usual(*other))
    assert hash(made) == hash(usual)
    assert repr(made) == repr(usual).replace("Usual", "Made")
    assert copy.copy(made) == pickle.loads(pickle.dumps(made)) == made
    assert replace(made, size=7) == Made(one[0], 7, one[2])


def test_it_is_as_frozen_as_before() -> None:
    made = Made("a")
    with pytest.raises(FrozenInstanceError):
        made.name = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del made.name


def test_its_signature_stays() -> None:
    assert str(inspect.signature(Made)) == str(inspect.signature(Usual))
    assert Made("a") == Made(name="a", size=None, parts=())
    with pytest.raises(TypeError, match="name"):
        Made()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="other"):
        Made("a", other=1)  # type: ignore[call-arg]


def test_what_it_cannot_do_it_refuses() -> None:
    @dataclass(frozen=True, slots=True)
    class Listed:
        parts: list[int] = field(default_factory=list)

    @dataclass(slots=True)
    class Changing:
        name: str

    @dataclass(frozen=True, slots=True)
    class Checked:
        name: str

        def __post_init__(self) -> None:
            pass

    for one in (Listed, Changing, Checked, int):
        with pytest.raises(TypeError, match="is not a"):
            quick(one)
