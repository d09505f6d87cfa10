"""What operators type: a module for each command.

Each has `add(commands)`, which adds its parser, with help, examples and what runs it: `set_defaults(run=...)`, a
function that takes the parsed arguments and returns an `Exit`. It imports what it needs when it runs, so that `--help`
is quick.
"""
