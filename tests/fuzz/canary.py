"""What a forged pickle calls: it leaves a file behind."""

import os

_path = None


def place(path):
    """Says where the file is to be; in processes that are forked later, too."""
    global _path
    _path = str(path)


def sing(*args, **kwargs):
    with open(_path, 'a') as file:
        file.write('unpickled by process %d\n' % os.getpid())
    return ()


class Canary:
    """Sings where it is unpickled."""

    def __reduce__(self):
        return sing, ()


def song():
    """What was left behind; empty if nothing was."""
    try:
        with open(_path) as file:
            return file.read()
    except FileNotFoundError:
        return ''
