"""A prediction of a synchronous model, and how every prediction ends, whatever the model has left behind."""

from __future__ import annotations

from ..exceptions import CancelationException
from . import foreign, unsent
from .channel import Channel, NoRoom
from .encode import Encoded, OutputError, encode, encode_item
from .errors import described, print_traceback
from .foreign import leave_if_forked, quietly

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._scope import Scope
    from .logs import Logs
    from .model import Model

    #: The members of the last frame, and what the model returned if it goes with it.
    End = tuple[dict[str, Any], Encoded | None]

#: More than any metric needs.
METRIC_LIMIT_BYTES = 4 * 1024 * 1024
CANCELED: End = ({"status": "canceled"}, None)
FAILED: End = ({"status": "failed", "error": "Prediction failed"}, None)


def attempt(
    model: Model, channel: Channel, prediction: str, message: dict[str, Any], opened: list[Any], spill: str | None
) -> End:
    """Calls a synchronous model. If it raises, that is how its prediction ends."""
    try:
        return _run(model, channel, prediction, model.inputs.arguments(message, opened), spill)
    except BaseException as error:
        return failure(error)


def _run(model: Model, channel: Channel, prediction: str, arguments: dict[str, Any], spill: str | None) -> End:
    """Sends what the model yields. Returns how the prediction ended."""
    output = model.handler(**arguments)
    if foreign.is_forked:
        leave_if_forked()
    if hasattr(output, "__next__") and not hasattr(output, "read"):
        try:
            for item in output:
                if foreign.is_forked:
                    leave_if_forked()
                send_chunk(channel, prediction, encode_item(item, spill))
        except BaseException as error:
            leave_if_forked(error)
            # Now, rather than when nobody can interrupt it any more.
            quietly(_close, output)
            raise
        leave_if_forked()
        return {"status": "succeeded", "stream": True}, None
    return {"status": "succeeded"}, encode(output, spill)


def _close(output: Any) -> None:
    close = getattr(output, "close", None)
    if close is not None:
        close()


def failure(error: BaseException) -> End:
    """How a prediction that raised ends. The traceback goes to its log."""
    leave_if_forked(error)
    end: End = quietly(_failure, error, otherwise=FAILED)
    return end


def _failure(error: BaseException) -> End:
    if issubclass(type(error), CancelationException):
        return CANCELED
    if issubclass(type(error), (OutputError, NoRoom)):
        return {"status": "failed", "error": f"Prediction failed: {error}"}, None
    print_traceback(error)
    return {"status": "failed", "error": f"Prediction failed: {described(error)}"}, None


def conclude(prediction: str, end: End, scope: Scope, opened: list[Any], logs: Logs) -> End:
    """Puts away what the prediction had. The model may have broken any of it: nothing here can fail."""
    has_scratch = quietly(scope.close)
    for file in opened:
        quietly(file.close)
    quietly(logs.flush, prediction)
    if end[1] is None:
        unsent.discard()
    return ({**end[0], "scratch": True}, end[1]) if has_scratch else end


def finish(channel: Channel, prediction: str, end: End) -> None:
    """The frame that ends a prediction."""
    members, output = end
    frame: dict[str, Any] = {"type": "done", "id": prediction, **members}
    if output is None:
        channel.send(frame)
        return
    try:
        _send(channel, dict(frame), "output", output)
    except (NoRoom, MemoryError) as error:
        unsent.discard()
        channel.send({**frame, **failure(error)[0]})


def metric_sink(channel: Channel, prediction: str) -> Callable[[str, Any, str], None]:
    """Sends a prediction's metrics."""

    def send(name: str, value: Any, mode: str) -> None:
        frame = {"type": "metric", "id": prediction, "name": name, "value": value, "mode": mode}
        channel.send(frame, METRIC_LIMIT_BYTES)

    return send


def send_chunk(channel: Channel, prediction: str, item: Encoded) -> None:
    """One item of a stream."""
    _send(channel, {"type": "chunk", "id": prediction}, "value", item)


def _send(channel: Channel, frame: dict[str, Any], key: str, output: Encoded) -> None:
    if output.raw:
        channel.send_raw(frame, key, output.text)
    else:
        if output.files:
            frame["files"] = output.files
        channel.send_value(frame, key, output.text)
    unsent.sent()
