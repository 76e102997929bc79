"""Task functions: ``@task``, its options, the names of functions, and the table that a node offers.

No sockets here. A call leaves through the submitter port (``meshq.tasks.port``), which the client fills.
"""

from meshq.tasks.commands import control_command
from meshq.tasks.current import CurrentTask, current_task, running
from meshq.tasks.decorator import task
from meshq.tasks.function import AsyncTaskFunction, TaskFunction, function_name
from meshq.tasks.load import Function, load_commands, load_functions
from meshq.tasks.names import SHIPPED, NamelessFunction, check_function_name, is_name, normalise_name
from meshq.tasks.options import TaskOptions, parse_rate
from meshq.tasks.port import AsyncResultLike, Call, FutureLike, Submitter, set_submitter_factory, submitter
from meshq.tasks.registry import registered
from meshq.tasks.shipping import shipped
from meshq.tasks.source import source_hash

__all__ = [
    "SHIPPED",
    "AsyncResultLike",
    "AsyncTaskFunction",
    "Call",
    "CurrentTask",
    "Function",
    "FutureLike",
    "NamelessFunction",
    "Submitter",
    "TaskFunction",
    "TaskOptions",
    "check_function_name",
    "control_command",
    "current_task",
    "function_name",
    "is_name",
    "load_commands",
    "load_functions",
    "normalise_name",
    "parse_rate",
    "registered",
    "running",
    "set_submitter_factory",
    "shipped",
    "source_hash",
    "submitter",
    "task",
]
