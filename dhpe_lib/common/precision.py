"""Keep geometry in full precision also under autocast."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any, TypeVar, cast

import torch

Function = TypeVar("Function", bound=Callable[..., Any])
KINDS = ("cpu", "cuda")


def full_precision(function: Function) -> Function:
    """Decorate a function so that autocast is off inside it.

    Autocast would run its matrix products in float16 or bfloat16. Two bytes place a vertex to half a millimetre or
    worse, and the renderer refuses them.

    Args:
        function: Function of float32 or float64 tensors. It must not depend on autocast.

    Returns:
        The function with the same arguments; nothing changes outside autocast.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        lowered = [kind for kind in KINDS if torch.is_autocast_enabled(kind)]
        if not lowered:
            return function(*args, **kwargs)
        with ExitStack() as stack:
            for kind in lowered:
                stack.enter_context(torch.autocast(kind, enabled=False))
            return function(*args, **kwargs)

    return cast(Function, call)
