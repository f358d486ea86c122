"""From an exception to a short message on stderr and an exit code; the only place that knows which codes there are."""

import errno
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from nas.interrupts import terminated_like_ctrl_c

if TYPE_CHECKING:
    from rich.console import Console

ANSWER_IS_NO = 1
BAD_INPUT = 2
OUR_BUG = 70  # EX_SOFTWARE of sysexits.h
STOPPED = 130  # 128 + SIGINT, as shells have it
TERMINATED = 143  # 128 + SIGTERM

RESUMABLE = frozenset({"run", "search", "export", "pick"})

# Modules that are not in the base install -> what brings them.
_EXTRAS = {
    "torch": "full",
    "optuna": "full",
    "torch_pruning": "full",
    "onnxscript": "full",
    "onnxslim": "full",
    "safetensors": "full",
    "scipy": "full",
    "mlxtend": "demo",
}


class CarefulGroup(TyperGroup):
    """The top of the command line: nothing that a command raises leaves it as a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what it raises becomes a message and ``typer.Exit``."""
        with terminated_like_ctrl_c() as terminated:
            return self._invoke(ctx, terminated)

    def _invoke(self, ctx: Any, terminated: Callable[[], bool]) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say_stopped(ctx.invoked_subcommand)
            raise typer.Exit(TERMINATED if terminated() else STOPPED) from None
        except BrokenPipeError:
            raise  # the reader went away (`leangen ... | head`): typer leaves quietly
        except Exception as error:
            if isinstance(error, typer.Abort) or hasattr(error, "exit_code"):
                raise  # typer's own: usage errors (2) and Exit
            raise typer.Exit(report(error)) from error


def report(error: Exception) -> int:
    """Print what ``error`` means to the user; return the exit code."""
    if isinstance(error, _user_errors()):
        print_error(str(error))
        return BAD_INPUT
    if isinstance(error, ImportError) and error.name and error.name.partition(".")[0] in _EXTRAS:
        package = error.name.partition(".")[0]
        print_error(
            f"this needs the package {package}, which is not installed: pip install 'leangen[{_EXTRAS[package]}]'"
        )
        return BAD_INPUT
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" ({error.filename})" if error.filename else ""
        print_error(f"the disk is full{where}: free some space, then run the same command; what is finished is kept")
        return BAD_INPUT
    if isinstance(error, OSError):
        print_error(f"{error.filename or 'the system'}: {error.strerror or error}")
        return BAD_INPUT
    _report_bug(error)
    return OUR_BUG


def print_error(message: str) -> None:
    """``message`` on stderr, red where colours are wanted; never wrapped, so that paths stay whole."""
    from rich.text import Text

    stderr_console().print(Text(f"error: {message}", style="red"), soft_wrap=True)


def stderr_console() -> "Console":
    """A console on stderr as it is now; knows NO_COLOR and terminals."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False)


def stdout_console() -> "Console":
    """A console on stdout as it is now; tables are not cut to 80 columns when they are piped into a file."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 160)


def version() -> str:
    """The installed version of leangen, or ``unknown (not installed)`` in a bare checkout."""
    from importlib import metadata

    try:
        return metadata.version("leangen")
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


def _user_errors() -> tuple[type[Exception], ...]:
    """What users, files and devices cause: the root of each room. All of these modules are light."""
    from benchmarks.records import BenchmarkError
    from compress.errors import CompressError
    from nas.errors import NasError
    from reports.summary import ReportError
    from search_spaces.space import SearchSpaceError

    return (BenchmarkError, CompressError, NasError, ReportError, SearchSpaceError)


def _say_stopped(command: str | None) -> None:
    saved = "saved; run the same command to go on" if command in RESUMABLE else "nothing was written"
    if command == "compress":
        saved = "run the same command again: a run goes on where it was, a module or a file begins anew"
    stderr_console().print(f"stopped: {saved}", soft_wrap=True)


def _report_bug(error: Exception) -> None:
    import shlex

    command = shlex.join(["leangen", *sys.argv[1:]])
    text = f"leangen {version()}\nPython {sys.version}\n{command}\n\n{''.join(traceback.format_exception(error))}"
    with tempfile.NamedTemporaryFile(
        "w", prefix="leangen-bug-", suffix=".txt", delete=False, encoding="utf-8", errors="replace"
    ) as file:
        file.write(text)
    print_error(
        f"this is a bug in leangen, not your mistake: {type(error).__name__}: {error}\n"
        f"Please report it with\n  version  {version()}\n  command  {command}\n  file     {file.name}"
    )
