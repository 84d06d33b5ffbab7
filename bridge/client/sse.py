"""Server-sent events, line by line: the parser and the feed's position; no I/O."""

from __future__ import annotations

import json

from pydantic import ValidationError

from bridge.client.errors import BridgeBadAnswer
from bridge.client.models import EventModel

_DEFAULT_RETRY_SECONDS = 1.0
_SHORTEST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 60.0


class EventFeed:
    """Turns lines into events and remembers where to resume; one feed outlives its connections."""

    def __init__(self, last_id: int | None) -> None:
        self.last_id = last_id
        self.retry_seconds = _DEFAULT_RETRY_SECONDS
        self._data: list[str] = []
        self._id: str | None = None

    def reconnected(self) -> None:
        """Forget an event that the broken connection left half sent."""
        self._data, self._id = [], None

    def feed(self, line: str) -> EventModel | None:
        """The event that this line completes, if it does; repeated ones are dropped."""
        if line == "":
            return self._complete()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isdigit():
            self.retry_seconds = min(max(int(value) / 1000, _SHORTEST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS)
        return None

    def _complete(self) -> EventModel | None:
        data, self._data = "\n".join(self._data), []
        if not data:
            # An id alone is where the stream stands: the bridge begins every connection with it.
            if self._id is not None and self._id.isdigit():
                self.last_id = int(self._id)
            return None
        event = _parse(data, self._id)
        if self.last_id is not None and event.number <= self.last_id:
            return None
        self.last_id = event.number
        return event


def _parse(data: str, event_id: str | None) -> EventModel:
    try:
        content = json.loads(data)
        if isinstance(content, dict) and "number" not in content and event_id:
            content["number"] = int(event_id)
        return EventModel.model_validate(content)
    except (ValueError, ValidationError) as error:
        raise BridgeBadAnswer(f"the event stream holds something that is no event: {data[:200]!r}") from error
