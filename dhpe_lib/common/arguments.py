"""Check the arguments of public functions: shapes, choices, whole numbers and this library's own classes.

The function's annotations say what is allowed. The checks read shapes and types only. They never read a value of a
tensor, so they never wait for a GPU.
"""

import inspect
import reprlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, wraps
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
Sizes = dict[str, int]
Hint = str | Mapping[tuple[int, ...], str]
NO_HINTS: Mapping[str, Hint] = {}
PRECISIONS = (torch.float32, torch.float64)
MISSING = object()


class _Running(threading.local):
    """Whether this thread is inside a function whose arguments were checked: what that calls is not checked again."""

    checked = False


running = _Running()
CALLS_TO_REMEMBER = 256
KINDS = {"float": "floating-point numbers", "integer": "whole numbers", "bool": "True and False"}


@dataclass(frozen=True)
class Shape:
    """Shape and kind of numbers of an array, from a jaxtyping annotation.

    Attributes:
        types: Classes of the array: torch's, numpy's or both.
        kind: "float", "integer", "bool" or "any".
        axes: A number, or a name whose size is equal in all arguments.
        star: Index in `axes` at which any number of other axes may stand; None if there are no others.
    """

    types: tuple[type, ...]
    kind: str
    axes: tuple[int | str, ...]
    star: int | None

    def __str__(self) -> str:
        names = [str(axis) for axis in self.axes]
        if self.star is not None:
            names.insert(self.star, "...")
        return f"[{', '.join(names)}]"

    def accepts(self, shape: tuple[int, ...], sizes: Sizes) -> bool:
        """Return whether a shape fits, and note the sizes of the named axes."""
        if self.star is not None:
            behind = len(self.axes) - self.star
            if len(shape) < len(self.axes):
                return False
            shape = (*shape[: self.star], *shape[len(shape) - behind :])
        if len(shape) != len(self.axes):
            return False
        return all(
            size == axis if isinstance(axis, int) else sizes.setdefault(axis, size) == size
            for axis, size in zip(self.axes, shape, strict=True)
        )


@dataclass(frozen=True)
class Rule:
    """Values that an annotation allows.

    Attributes:
        name: Name of the argument.
        shapes: Allowed arrays.
        choices: Allowed names, of a `Literal`.
        classes: Allowed classes of this library.
        optional: Whether None is allowed.
        others: Whether other types are allowed, which are not checked.
    """

    name: str
    shapes: tuple[Shape, ...]
    choices: tuple[Any, ...]
    classes: tuple[type, ...]
    optional: bool
    others: bool

    def check(self, value: Any, sizes: Sizes, hints: Mapping[str, Hint]) -> None:
        """Raise an error if a value is not allowed."""
        if value is None and self.optional:
            return
        if isinstance(value, Tensor | ndarray) and self.shapes:
            self._check_array(value, sizes, hints)
        elif isinstance(value, str) and self.choices:
            if value not in self.choices:
                raise ValueError(f"{self.name} = {value!r}; use {_quoted(self.choices)}")
        elif not self.others and not isinstance(value, self.classes):
            raise TypeError(f"{self.name} is {_described(value)}; give {self._wanted(sizes)}")

    def _check_array(self, value: Tensor | ndarray, sizes: Sizes, hints: Mapping[str, Hint]) -> None:
        for shape in self.shapes:
            if isinstance(value, shape.types) and _is_kind(value, shape.kind):
                found = dict(sizes)
                if shape.accepts(tuple(value.shape), found):
                    sizes.update(found)
                    return
        if not any(isinstance(value, shape.types) for shape in self.shapes):
            raise TypeError(f"{self.name} is {_described(value)}; give {self._wanted(sizes)}")
        if not any(_is_kind(value, shape.kind) for shape in self.shapes):
            kinds = " or ".join(dict.fromkeys(KINDS[shape.kind] for shape in self.shapes))
            raise TypeError(f"{self.name} is {value.dtype}; give {kinds}")
        hint = self._hint(tuple(value.shape), sizes, hints.get(self.name, ""))
        remedy = f"{self._wanted(sizes)}: {hint}" if hint else self._wanted(sizes)
        raise ValueError(f"{self.name} has shape {list(value.shape)}; give {remedy}")

    def _wanted(self, sizes: Sizes) -> str:
        owned = [f"a {its.__name__}" for its in self.classes]
        if not self.shapes:
            return " or ".join(([_quoted(self.choices)] if self.choices else []) + owned)
        named = dict.fromkeys(axis for shape in self.shapes for axis in shape.axes if axis in sizes)
        known = " and ".join(f"{axis} = {sizes[str(axis)]}" for axis in named)
        arrays = "numpy array" if self.shapes[0].types == (ndarray,) else "tensor"
        array = f"a {arrays} {' or '.join(dict.fromkeys(map(str, self.shapes)))}" + (f" with {known}" if known else "")
        return " or ".join([array, *owned])

    def _hint(self, shape: tuple[int, ...], sizes: Sizes, hint: Hint) -> str:
        """Return the remedy of a wrong shape: another batch, no batch axis, or what the function knows about it."""
        if any(each.accepts(shape, {}) for each in self.shapes):
            return "repeat its only row" if shape[:1] == (1,) and sizes else ""
        if any(each.star is None and each.accepts((1, *shape), {}) for each in self.shapes):
            return f"a batch of one is {self.name}[None]"
        if isinstance(hint, str):
            return hint
        return hint.get(shape) or hint.get(shape[1:]) or hint.get((), "")


def _quoted(choices: tuple[Any, ...]) -> str:
    *first, last = (f'"{choice}"' for choice in choices)
    return f"{', '.join(first)} or {last}" if first else last


def _described(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, Tensor | ndarray):
        return f"a {'torch tensor' if isinstance(value, Tensor) else 'numpy array'} {list(value.shape)}"
    if is_dataclass(value) or isinstance(value, torch.nn.Module):
        return f"a {type(value).__name__}"
    return f"{reprlib.repr(value)} ({type(value).__name__})"


def _is_kind(value: Tensor | ndarray, kind: str) -> bool:
    if kind == "any":
        return True
    if isinstance(value, ndarray):
        return value.dtype.kind in {"float": "f", "integer": "iu", "bool": "b"}[kind]
    if kind == "float":
        return value.dtype.is_floating_point
    return (value.dtype == torch.bool) == (kind == "bool") and not (
        value.dtype.is_floating_point or value.dtype.is_complex
    )


def _shape_of(annotation: Any) -> Shape | None:
    """Read a jaxtyping annotation; None if it is another annotation or its axes are computed."""
    text, array = getattr(annotation, "dim_str", None), getattr(annotation, "array_type", None)
    if text is None:
        return None
    types = array.__constraints__ if isinstance(array, TypeVar) else (array,)
    tokens = text.split()
    stars = [k for k, token in enumerate(tokens) if token == "..." or token.startswith("*")]
    axes = [token for k, token in enumerate(tokens) if k not in stars]
    if len(stars) > 1 or not all(axis.isidentifier() or axis.isdigit() for axis in axes):
        return None
    return Shape(
        tuple(types),
        _kind(annotation.dtypes),
        tuple(int(a) if a.isdigit() else a for a in axes),
        stars[0] if stars else None,
    )


def _kind(names: Any) -> str:
    """Name the kind of numbers that a jaxtyping annotation allows."""
    if not isinstance(names, list | tuple):
        return "any"
    found = {"float" if "float" in name else "bool" if name == "bool" else "integer" for name in map(str, names)}
    return found.pop() if len(found) == 1 else "any"


def _rule(name: str, annotation: Any, default: Any) -> Rule | None:
    """Make the rule of an argument; None if nothing is to check."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    shapes = [shape for part in parts if (shape := _shape_of(part)) is not None]
    literals = [part for part in parts if get_origin(part) is Literal]
    choices = tuple(choice for part in literals for choice in get_args(part))
    classes = tuple(part for part in parts if inspect.isclass(part) and part.__module__.startswith("dhpe_lib."))
    optional = default is None or type(None) in parts
    others = len(shapes) + len(literals) + len(classes) + (type(None) in parts) < len(parts)
    return Rule(name, tuple(shapes), choices, classes, optional, others) if shapes or choices or classes else None


def checked(hints: Mapping[str, Hint] = NO_HINTS) -> Callable[[Function], Function]:
    """Decorate a function so that each call checks its arguments against their annotations.

    Checked are the shapes of arrays, with equal sizes of axes of one name, their kind of numbers, the names of a
    `Literal`, and the classes of this library. Default values are not checked. Whole numbers of numpy become Python's.
    Calls with types and shapes that passed before are not checked again, nor are the calls that a checked function
    makes. Nothing is checked while `torch.compile` traces.

    Args:
        hints: Remedy for each argument whose wrong shape has a well-known reason: one text, or a text for each wrong
            shape (without the batch axis) with the text of all others at ().

    Returns:
        A decorator. The function raises a ValueError for a wrong shape or choice and a TypeError for a wrong type; the
        message names the argument, what it is and what it should be.
    """

    def decorate(function: Function) -> Function:
        parameters = inspect.signature(function).parameters
        rules = _rules_of(function)
        places = [(place, name) for place, name in enumerate(parameters) if name in rules]
        has_numbers = any(_holds_int(its.annotation) for its in parameters.values())
        passed: set[tuple[Any, ...]] = set()

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or running.checked:
                return function(*args, **kwargs)
            count = len(args)
            given = [args[place] if place < count else kwargs.get(name, MISSING) for place, name in places]
            key = tuple(map(_facts, given))
            if key not in passed:
                _check_all(rules.values(), given, hints)
                if len(passed) < CALLS_TO_REMEMBER:
                    passed.add(key)
            if has_numbers:
                args, kwargs = _plain(args), {name: _plain(value) for name, value in kwargs.items()}
            running.checked = True
            try:
                return function(*args, **kwargs)
            finally:
                running.checked = False

        return cast(Function, call)

    return decorate


def _facts(value: Any) -> Any:
    """Return all that a check looks at."""
    if isinstance(value, Tensor | ndarray):
        return value.shape, value.dtype, type(value)
    return value if isinstance(value, str) else type(value)


def _check_all(rules: Iterable[Rule], given: Sequence[Any], hints: Mapping[str, Hint]) -> None:
    sizes: Sizes = {}
    for rule, value in zip(rules, given, strict=True):
        if value is not MISSING:
            rule.check(value, sizes, hints)


def _holds_int(annotation: Any) -> bool:
    return annotation is int or any(map(_holds_int, get_args(annotation)))


def _rules_of(function: Callable[..., Any]) -> dict[str, Rule]:
    parameters = inspect.signature(function).parameters
    rules = (_rule(name, its.annotation, its.default) for name, its in parameters.items())
    return {rule.name: rule for rule in rules if rule is not None}


def _plain(value: Any) -> Any:
    """Make Python's whole numbers of numpy's, also inside a tuple."""
    if type(value) is tuple:
        return tuple(map(_plain, value))
    return int(value) if isinstance(value, np.integer) else value


@cache
def _rules_of_fields(record: Any) -> tuple[Rule, ...]:
    rules = (_rule(field.name, field.type, field.default) for field in fields(record))
    return tuple(rule for rule in rules if rule is not None)


def check_fields(record: Any) -> None:
    """Check the fields of a dataclass against their annotations, as :func:`checked` does; call it in `__post_init__`.

    Args:
        record: The dataclass.

    Raises:
        ValueError: A field has a wrong shape or is no allowed choice.
        TypeError: A field has a wrong type.
    """
    sizes: Sizes = {}
    for rule in _rules_of_fields(cast(Any, type(record))):
        rule.check(getattr(record, rule.name), sizes, NO_HINTS)


def check_at_least(name: str, value: int | float, least: int | float) -> None:
    """Raise an error if a number is smaller than the least one that makes sense.

    Args:
        name: Name of the argument.
        value: The number.
        least: Smallest allowed value.

    Raises:
        ValueError: The number is smaller, or not a number.
    """
    if not value >= least:
        raise ValueError(f"{name} = {value}; give {least} or more")


def check_precision(name: str, value: Tensor) -> None:
    """Raise an error if numbers have neither 32 nor 64 bits.

    Args:
        name: Name of the argument.
        value: Floating-point numbers.

    Raises:
        TypeError: They are float16 or bfloat16.
    """
    if value.dtype not in PRECISIONS:
        raise TypeError(f"{name} is {value.dtype}; use float32 or float64: convert with .float()")


def check_alike(like: Tensor, of: str, values: Mapping[str, Tensor | None]) -> None:
    """Raise an error if tensors have another type of numbers or device than a given one.

    Args:
        like: The tensor to compare with.
        of: Name of what it belongs to.
        values: Tensors by the name of their argument; None is left out.

    Raises:
        TypeError: The types of numbers differ.
        ValueError: The devices differ.
    """
    dtype, device = like.dtype, like.device
    for name, value in values.items():
        if value is None:
            continue
        if value.dtype != dtype:
            raise TypeError(f"{name} is {value.dtype}, {of} {dtype}; convert one of them with .to({dtype})")
        if value.device != device:
            raise ValueError(f'{name} is on {value.device}, {of} on {device}; move one of them with .to("{device}")')
