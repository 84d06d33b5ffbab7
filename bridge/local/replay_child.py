"""Runs a Python component under the debugger; a script for the component's own interpreter.

Arguments: the component's source, then what KFP's executor is given. Knows nothing of the bridge, as
the component's environment need not hold it. Where the component raises, the debugger stops in the
component's own line, however deep below it the exception came from.
"""

from __future__ import annotations

import logging
import pdb  # noqa: T100 - it is what this is for
import runpy
import sys
import traceback
from types import TracebackType
from typing import Any


class _AtTheComponent(pdb.Pdb):
    """Starts in the innermost frame of the component's file, not in a library that it called."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source

    def setup(self, f: Any, tb: Any) -> None:
        super().setup(f, tb)
        own = [i for i, (frame, _) in enumerate(self.stack) if frame.f_code.co_filename == self._source]
        if own:
            self.curindex = own[-1]
            self.curframe = self.stack[self.curindex][0]
            self.curframe_locals = self.curframe.f_locals


def main(source: str, arguments: list[str]) -> int:
    """The exit code of the component, 1 if it raised."""
    # KFP's executor sets up logging itself, unless somebody has; its own lines say nothing here.
    logging.basicConfig(level=logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: "kfp/dsl/" not in record.pathname)
    sys.argv = ["executor_main", "--component_module_path", source, *arguments]
    try:
        runpy.run_module("kfp.dsl.executor_main", run_name="__main__", alter_sys=False)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        trace = _from_component(error.__traceback__, source)
        traceback.print_exception(type(error), error, trace)
        print("\nThe component raised; the debugger is at its line (w: where, p NAME, u/d: frames, q: quit)")
        sys.stdout.flush()
        debugger = _AtTheComponent(source)
        debugger.reset()
        debugger.interaction(None, trace)
        return 1
    return 0


def _from_component(trace: TracebackType | None, source: str) -> TracebackType | None:
    """The traceback without the frames of KFP's executor above the component."""
    step = trace
    while step is not None:
        if step.tb_frame.f_code.co_filename == source:
            return step
        step = step.tb_next
    return trace


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
