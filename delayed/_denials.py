"""Names the command that a script was not allowed to run: Redis 6 and 7.0 tell but the script's line."""

from __future__ import annotations

import re

from redis.exceptions import NoPermissionError, ResponseError

from ._scripts import Script

_OF_COMMANDS = "can't run this command"
_OF_KEYS = "can't access at least one of the keys"
_NAMED = 'ACL failure in script'  # since Redis 7.2, which names the command
_LINE = re.compile(r'user_script: ?(\d+)')
_CALL = re.compile(r'redis\.call\(([^,)]*)')
_COMMAND = re.compile(r"(?<!== )'(\w+)'")  # what it is compared with is none


def explained(error: ResponseError, script: Script) -> ResponseError:
    """Returns the error of a script; if it was for want of permission, one that says so by its class and its text."""
    text = str(error)
    line = _LINE.search(text)
    if _NAMED in text:
        return NoPermissionError(text)
    if line is None or not (_OF_COMMANDS in text or _OF_KEYS in text):
        return error
    commands = [command for call in _CALL.findall(script.source.splitlines()[int(line[1]) - 1])
                for command in _COMMAND.findall(call)]
    return NoPermissionError("this user has no permissions to run the '%s' command%s, which %s.lua does (%s)" % (
        "' or '".join(commands), ' on its key' if _OF_KEYS in text else '', script.name, text))
