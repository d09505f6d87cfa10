"""Log lines as JSON, for programs that read them."""

from __future__ import annotations

import json
import logging
import time

#: What every record has; whatever else one has was given to it by `extra=`.
_USUAL = {*vars(logging.makeLogRecord({})), 'message', 'asctime', 'taskName'}


class JsonLines(logging.Formatter):
    """One object a line: `time` (UTC, ISO 8601), `level`, `message`, `pid`, `module`, `line`; `error`, the traceback,
    if there is one; and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in _USUAL}
        if record.exc_info:
            fields['error'] = self.formatException(record.exc_info)
        return json.dumps({
            'time': '%s.%03dZ' % (time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created)), record.msecs),
            'level': record.levelname, 'message': record.getMessage(), 'pid': record.process, 'module': record.module,
            'line': record.lineno, **fields}, default=repr)
