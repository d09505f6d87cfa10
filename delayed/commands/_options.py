"""The options of all commands look alike: their help names the unit, the default and the environment variable."""

from __future__ import annotations

import argparse
import math
import os
from typing import Any, Callable, List, Optional, Sequence

from ..errors import InvalidArgument

_YES, _NO = ('1', 'true', 'yes', 'on'), ('0', 'false', 'no', 'off', '')


def described(make: Any, description: str, examples: str, notes: str = '', **kwargs: Any) -> argparse.ArgumentParser:
    """`make`s a parser whose help ends with notes and examples. `make`: `ArgumentParser`, or `add_parser` of the
    commands."""
    parser: argparse.ArgumentParser = make(description=description, epilog=notes + 'examples:' + examples,
                                           formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)
    return parser


def option(parser: Any, *flags: str, env: Optional[str], help: str, type: Callable[[str], Any] = str,
           default: Any = None, shown: Optional[str] = None, choices: Sequence[str] = (), many: bool = False,
           **kwargs: Any) -> None:
    """Adds an option with a value to a parser.

    env: the environment variable that gives the value where the option is not given; `None`: none does.
    shown: what the help calls the default; by itself, the default. metavar (in kwargs) is the unit.
    many: it may be given several times; the variable holds them with spaces between. The value is a list of texts.
    """
    if choices:
        kwargs.setdefault('metavar', '|'.join(choices))
    shown = shown if shown is not None else 'none' if default is None else '%s' % (default,)
    checked = _checked(type, choices)
    text = None if env is None else os.environ.get(env)
    if text and env is not None:
        default = [_Variable(each, env) for each in text.split()] if many else _Variable(text, env)
    elif many:
        default = []
    parser.add_argument(*flags, type=checked, default=default, action=_Append if many else None,
                        help=_with_facts(help, shown, env), **kwargs)


def flag(parser: Any, *flags: str, env: Optional[str], help: str, **kwargs: Any) -> None:
    """Adds an option without a value. env: as for `option`; it may be 1, true, yes, on, or 0, false, no, off."""
    text = '' if env is None else os.environ.get(env, '')
    if text.lower() not in _YES + _NO:
        raise InvalidArgument('the environment variable %s must be one of %s, not %r' % (
            env, ', '.join(filter(None, _YES + _NO)), text))
    parser.add_argument(*flags, action='store_true', default=text.lower() in _YES,
                        help=_with_facts(help, 'no', env), **kwargs)


def _with_facts(help: str, shown: str, env: Optional[str]) -> str:
    facts = 'default: %s' % shown if env is None else 'default: %s; environment: %s' % (shown, env)
    return '%s (%s)' % (help, facts.replace('%', '%%'))


class _Variable(str):
    """The text of an environment variable, which stands for an option's."""

    name: str

    def __new__(cls, text: str, name: str) -> _Variable:
        self = super().__new__(cls, text)
        self.name = name
        return self


def is_typed(value: Any) -> bool:
    """Whether the text of an option was typed, and is neither a default nor a variable's."""
    return isinstance(value, str) and not isinstance(value, _Variable)


class _Append(argparse.Action):
    """As `append`, but what is typed replaces the default."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        before: List[Any] = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [values] if before is self.default else [*before, values])


def _checked(convert: Callable[[str], Any], choices: Sequence[str]) -> Callable[[str], Any]:
    """A type for argparse, which converts what is typed, and a default that is text: that of a variable."""
    def checked(text: str) -> Any:
        try:
            if choices and text not in choices:
                raise argparse.ArgumentTypeError('must be one of %s, not %r' % (', '.join(choices), str(text)))
            return text if convert is str else convert(text)  # a variable's text goes on to say so
        except argparse.ArgumentTypeError as error:
            if isinstance(text, _Variable):
                raise argparse.ArgumentTypeError('the environment variable %s %s' % (text.name, error)) from error
            raise
    return checked


# --- types of values


def positive(text: str) -> int:
    """A whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError('must be a whole number from 1 up, not %r' % str(text))
    return int(text)


def natural(text: str) -> int:
    """A whole number from 0 up."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError('must be a whole number from 0 up, not %r' % str(text))
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds, more than 0."""
    value = seconds_or_none_at_all(text)
    if value == 0:
        raise argparse.ArgumentTypeError('must be a number of seconds, more than 0, not %r' % str(text))
    return value


def seconds_or_none_at_all(text: str) -> float:
    """A number of seconds from 0 up."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError('must be a number of seconds, not %r' % str(text))
    return value
