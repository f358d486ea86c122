"""Any function as a runner: for programs that call a model in their own way, and for tests."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.records import BenchmarkError


class CallableRunner:
    """Runs ``function()``.

    Args:
        function: One inference; it returns when the result is there. What it returns is an array, or arrays by name,
            if ``outputs`` is to be used; timing takes anything.
        name: What reports and errors call it.
    """

    def __init__(self, function: Callable[[], object], name: str) -> None:
        self._function = function
        self._name = name

    @property
    def name(self) -> str:
        """As given."""
        return self._name

    def run(self) -> object:
        """Call the function."""
        return self._function()

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of the function's arrays by name; a single array is called ``output``.

        Raises:
            BenchmarkError: the function returned neither.
        """
        result = self._function()
        named = result if isinstance(result, Mapping) else {"output": result}
        arrays = {str(key): value.copy() for key, value in named.items() if isinstance(value, np.ndarray)}
        if len(arrays) < len(named):
            kind = type(result).__name__
            raise BenchmarkError(f"{self._name}: the function must return an array, or arrays by name, not {kind}.")
        return arrays
