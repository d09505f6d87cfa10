"""What the workers of the tests run. `report` and `pass_gate` meet the test; see workers.py."""

import ctypes
import faulthandler
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time

from workers import SIGNAL_STATE, children, open_files, pass_gate, report

kept = []  # what a task leaves behind in its process


def run(*args, **kwargs):
    report('ran', args, kwargs)


def size(data):
    report('size', len(data))


def where():
    report('where', os.getpid(), os.getppid())


def siblings():
    report('siblings', len(children(os.getppid())))


def hold():
    """Stays until the test opens the gate."""
    report('holds', os.getpid(), os.getppid())
    pass_gate()


def hold_and_fail():
    hold()
    raise ValueError('on purpose')


def frozen():
    report('frozen', gc.get_freeze_count())


def stop_worker():
    """As one who types `kill MONITOR`, while this task runs."""
    os.kill(os.getppid(), signal.SIGTERM)


def kill_parent(signum):
    os.kill(os.getppid(), signum)


def disposition(signum):
    report('disposition', signal.getsignal(signum) == signal.SIG_IGN)


def fail(message='on purpose'):
    raise ValueError(message)


def interrupt():
    raise KeyboardInterrupt('on purpose')


def kill_self(signum):
    os.kill(os.getpid(), signum)


def ignore(signum):
    """Runs for ever, whatever is asked of it by that signal."""
    signal.signal(signum, signal.SIG_IGN)
    report('ignores')
    while True:
        time.sleep(3600)


def fork(error=None):
    """Comes back in two processes."""
    report('forked', os.fork() == 0)
    if error:
        raise error('in both')


def close_all(directory):
    """Closes all descriptors, and opens files under the same numbers."""
    os.closerange(3, 256)
    for index in range(64):
        kept.append(os.open('%s/%d' % (directory, index), os.O_RDWR | os.O_CREAT))


def close_all_but_standard():
    os.closerange(3, 256)


def write(text, times):
    for _ in range(times):
        sys.stdout.write(text)


def spin():
    while True:
        pass


def nap():
    time.sleep(3600)


def backtrack():
    """Holds the interpreter in C for ever, though `re` looks for signals now and then."""
    re.match('(a+)+$', 'a' * 100 + 'b')


def add_up():
    """Holds the interpreter in C for ever: no handler written in Python runs."""
    sum(range(10 ** 18))


def use_thread():
    threading.Thread(target=nap, daemon=True).start()
    spin()


def catch_all_real_time_signals():
    for signum in range(signal.SIGRTMIN, signal.SIGRTMAX):
        signal.signal(signum, lambda signum, _: report('caught', signum))
    spin()


def read_null():
    ctypes.string_at(0)


def raise_on_sigterm():
    """Ends by an exception when its time is over."""
    def handler(signum, frame):
        raise TimeoutError('on purpose')

    signal.signal(signal.SIGTERM, handler)
    time.sleep(3600)


def fail_oddly():
    """Python cannot format such an exception."""
    raise SyntaxError('on purpose', ('file', 1, 1, b'bytes'))


def abort():
    os.abort()


def burn(seconds):
    """Uses processor time, and memory of which it keeps nothing."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def burn_elsewhere(seconds):
    """The same in a program of its own."""
    subprocess.run([sys.executable, '-c', 'import tasks; tasks.burn(%r)' % seconds], check=True)


def take_memory(megabytes):
    report('took', len(bytearray(megabytes * 1_000_000)))


def have_own_faulthandler(path):
    """As a program that wants to know of crashes itself, in this file."""
    kept.append(open(path, 'w'))
    faulthandler.enable(kept[-1])


def signal_state():
    """What a program finds that a task starts."""
    report('signal state', subprocess.check_output(SIGNAL_STATE, text=True))


def leave_behind():
    """A thread and a program that outlive the task."""
    threading.Thread(target=time.sleep, args=(3600,)).start()
    kept.append(subprocess.Popen(['sleep', '60']))


def count():
    """How often it was called in this process."""
    kept.append(None)
    report('count', len(kept))


def grow(megabytes):
    """Keeps so much memory."""
    kept.append(b'x' * (megabytes << 20))


def fds():
    """How many descriptors are open here."""
    report('fds', len(open_files()))


def crash_with_own_faulthandler(path):
    have_own_faulthandler(path)
    abort()


def close_all_and_crash(directory):
    close_all(directory)
    abort()
