"""Indexing: the functions of an app and their triggers, read from `function_app.py` as the Python worker does.

What the real worker or host rejects when it starts is an error here too, and all of it at once: a wrong
annotation, a setting that is not there, a parameter that no binding names.
"""

import importlib.util
import inspect
import sys
import traceback
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import azure.functions as func
from azure.functions import meta
from azure.functions.decorators.function_app import Function

from sandbox.functions_host.triggers import (
    BindingError,
    HttpTrigger,
    ServiceBusTrigger,
    SettingResolver,
    TimerTrigger,
    read_trigger,
)

Trigger = ServiceBusTrigger | TimerTrigger | HttpTrigger

_OUT = 1  # azure.functions.decorators.core.BindingDirection.OUT


class IndexingError(Exception):
    """The app can't be run as it is; the message names every problem, one a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedFunction:
    """One function of the app, ready to be fired.

    Attributes:
        name: as `function_name` or the Python function has it; unique within the app.
        call: what the app's author wrote: a coroutine function where `is_async`, else a plain one.
        parameter: the name of the parameter that takes what fired it.
        wants_context: whether it has a parameter `context: func.Context` besides.
        returns: whether a `$return` binding takes its result. Without one it must return None.
        folder: where its module stands.
    """

    name: str
    call: Callable[..., object]
    is_async: bool
    parameter: str
    wants_context: bool
    returns: bool
    folder: Path
    trigger: Trigger


def load_app(path: Path) -> func.FunctionApp:
    """Import `function_app.py` from the folder `path` and return the one FunctionApp it makes.

    The folder goes to the front of `sys.path`, as in Azure, so that the app finds its own packages. The
    module is run anew each time.

    Raises:
        IndexingError: there is no such file, or it does not make exactly one FunctionApp, or it raised (that
            is the cause then).
    """
    script = path.resolve() / "function_app.py"
    if not script.is_file():
        raise IndexingError(f"{path} has no function_app.py")
    if str(script.parent) not in sys.path:
        sys.path.insert(0, str(script.parent))
    spec = importlib.util.spec_from_file_location("function_app", script)
    assert spec is not None and spec.loader is not None  # noqa: S101 - holds for every file that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules["function_app"] = module
    try:
        spec.loader.exec_module(module)
    # Whatever an app's code raises, a wrong setting most often: the app can't be run.
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise IndexingError(
            f"importing {script.name} failed: {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        ) from error
    apps = [value for value in vars(module).values() if isinstance(value, func.FunctionApp)]
    if len(apps) != 1:
        raise IndexingError(f"{script} makes {len(apps)} FunctionApps at its top level; it must make one")
    return apps[0]


def index_functions(app: func.FunctionApp, environment: Mapping[str, str]) -> tuple[IndexedFunction, ...]:
    """The functions of `app`, with `%SETTING%` and connections resolved from `environment`.

    Raises:
        IndexingError: naming everything that is wrong with any of them.
    """
    try:
        declared = app.get_functions()
    except ValueError as error:  # no trigger, two triggers, a name used twice
        raise IndexingError(str(error)) from error
    problems: list[str] = []
    indexed = [_index(function, environment, problems) for function in declared]
    if problems:
        raise IndexingError("\n".join(problems))
    return tuple(function for function in indexed if function is not None)


def _index(function: Function, environment: Mapping[str, str], problems: list[str]) -> IndexedFunction | None:
    name = str(function.get_function_name())
    binding: typing.Any = function.get_trigger()  # untyped: the triggers' properties differ
    settings = SettingResolver(environment)
    try:
        trigger = read_trigger(binding, settings)
    except BindingError as problem:
        problems.extend(f"{name}: {text}" for text in problem.texts)
        trigger = None
    call = function.get_user_function()
    others = [other for other in function.get_bindings() if other is not binding]
    found = list(_unsupported(others))
    parameters = set(inspect.signature(call).parameters)
    annotations = typing.get_type_hints(call)
    wants_context = "context" in parameters and binding.name != "context"
    if wants_context:
        parameters.discard("context")
        if annotations.get("context", func.Context) is not func.Context:
            found.append('the parameter "context" must be annotated azure.functions.Context')
    if unbound := sorted(parameters - {binding.name}):
        found.append(f"declared in Python but bound by no decorator: {', '.join(unbound)}")
    if binding.name not in parameters:
        found.append(f"bound by a decorator but missing in Python: {binding.name}")
    if binding.name in annotations and (flaw := _wrong_annotation(binding, annotations[binding.name])):
        found.append(flaw)
    problems.extend(f"{name}: {text}" for text in found)
    if trigger is None or found:
        return None
    return IndexedFunction(
        name=name,
        call=call,
        is_async=inspect.iscoroutinefunction(call),
        parameter=binding.name,
        wants_context=wants_context,
        returns=any(other.name == "$return" for other in others),
        folder=Path(inspect.getfile(call)).parent,
        trigger=trigger,
    )


def _unsupported(bindings: list[typing.Any]) -> typing.Iterator[str]:
    """What else is bound, but for the HTTP response: this host has no other bindings."""
    for binding in bindings:
        if not (binding.type == "http" and binding.name == "$return" and binding.direction == _OUT):
            yield f'the binding {binding.name!r} of type "{binding.type}" is not known to this host'


def _wrong_annotation(binding: typing.Any, annotation: object) -> str | None:
    """The worker's error for the trigger parameter's annotation; None if it is valid."""
    generic = typing.get_origin(annotation) not in (None, typing.Union) and not isinstance(
        annotation, types.GenericAlias | types.UnionType
    )
    if not generic and (isinstance(annotation, types.GenericAlias) or not isinstance(annotation, type)):
        hint = "; write typing.List[X], not list[X]" if isinstance(annotation, types.GenericAlias) else ""
        return f"binding {binding.name} has invalid non-type annotation {annotation!r}{hint}"
    registry: typing.Any = meta.get_binding_registry()  # type: ignore[no-untyped-call] # azure-functions has no type here
    converter = registry.get(binding.type)
    try:
        fits = converter is not None and converter.check_input_type_annotation(annotation)
    except TypeError:  # some converters call issubclass() on other values than classes
        fits = False
    if fits:
        return None
    return f'type of {binding.name} binding "{binding.type}" does not match its Python annotation {annotation!r}'
