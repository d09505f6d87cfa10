"""Takes the black box out of this package's workers, to measure what it costs."""

from delayed import _blackbox, _children


def put_on():
    _blackbox.Recorder.begin = lambda self, slot: None
    _blackbox.Recorder.finished = lambda self, task: None
    _children.StackFile = _NoFile


class _NoFile:
    def __init__(self, signum):
        self.fd = -1

    def install(self):
        return -1

    def ask(self, pid):
        pass

    def close(self):
        pass
