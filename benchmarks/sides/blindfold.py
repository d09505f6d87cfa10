"""Takes the black box out of this package's workers, to measure what it costs."""

from delayed import _blackbox, _children


def put_on():
    _blackbox.Recorder.begin = lambda self, slot: None
    _blackbox.Recorder.finished = lambda self, task: None
    _children.StackFiles = _NoFiles


class _NoFiles:
    def take(self):
        return _NoFile()

    def close(self):
        pass


class _NoFile:
    fd, signum = -1, None

    def install(self):
        pass

    def ask(self, pid):
        pass

    def close(self):
        pass
