"""Points that a worker passes on a task's way: it tells the test of each, and goes on when the test lets it.

So the test knows exactly how far a worker is, and can do to it, or to Redis, what it likes meanwhile. The product
knows nothing of this: `install` wraps a few of the product's internals, in the test's own processes. A point has a role
(monitor, child, or the name of a worker that is not looked at so closely), a name, and the tasks that it is about.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading

from delayed import _channel, _page, _pooled, _runner, _scripts

_TASK = re.compile(rb'task-(\w)')
_SCRIPTS = {name: script.name for script in _scripts.ALL for name in (script.sha, script.source)}


class _Reporter:
    """This process's line to the test. Each thread of each process has a connection of its own."""

    def __init__(self):
        self.path = None
        self.worker = None
        self.monitor = None
        self.children = []
        self.current = ()  # the task that was sent or received last
        self._connections = {}
        os.register_at_fork(after_in_child=self._forget_connections)

    def reach(self, name, tasks=None):
        """`tasks`: the names of those that it is about; by default the one that was sent or received last."""
        if self.path is None:
            return
        tasks = self.current if tasks is None else tasks
        pid = os.getpid()
        role = self.worker if self.monitor is None else 'monitor' if pid == self.monitor else 'child'
        self._exchange({'role': role, 'name': name, 'tasks': list(tasks), 'pid': pid,
                        'child': self._child() if role == 'monitor' else pid})

    def _child(self):
        """The process that has the task, or will have it."""
        noted = self.noted_child()
        return noted or (self.children[-1] if self.children else None)

    def noted_child(self):
        return None

    def _exchange(self, message):
        thread = threading.get_ident()
        connection = self._connections.get(thread)
        try:
            if connection is None:
                connection = self._connections[thread] = socket.socket(socket.AF_UNIX)
                connection.connect(self.path)
            connection.sendall(json.dumps(message).encode() + b'\n')
            connection.recv(1)
        except OSError:
            pass  # the test is over

    def _forget_connections(self):
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


_reporter = _Reporter()
reach = _reporter.reach


def report_to(path, worker):
    """All points of this process, and of those it forks, are told to the test at the socket `path`."""
    _reporter.path, _reporter.worker = path, worker


def install(worker, half=None):
    """Makes points of what `worker` does in this process and its children. `half`: the task whose payload is to stay
    half sent until the test lets go."""
    _reporter.monitor = os.getpid()
    _reporter.noted_child = lambda: worker._child_pid
    _wrap_fork()
    _wrap_calls()
    _wrap_halves()
    _wrap_writer(half)
    _wrap_reader()
    _wrap_runner()
    _wrap_slot()


def _in_monitor():
    return os.getpid() == _reporter.monitor


def _wrap_fork():
    fork = os.fork

    def forking():
        pid = fork()
        if pid:
            _reporter.children.append(pid)
        return pid

    os.fork = forking


def _wrap_calls():
    """Before each call to Redis, and after its reply was read."""
    exchange, wait_and_run = _pooled.exchange, _pooled.HeldCaller.wait_and_run

    def exchanging(connection, request, *args, **kwargs):
        sent = _unpacked(b''.join(request))
        name = _call_name([part.decode('utf-8', 'replace') if isinstance(part, bytes) else part for part in sent])
        if name is not None:
            reach('before ' + name, _tasks_in(sent))
        reply = exchange(connection, request, *args, **kwargs)
        if name is not None:
            reach('after ' + name, _tasks_in((sent, reply)))
        return reply

    def waiting_and_running(self, *args):
        reach('before wait and take', ())
        reply = wait_and_run(self, *args)
        reach('after wait and take', _tasks_in(reply))
        return reply

    _pooled.exchange, _pooled.HeldCaller.wait_and_run = exchanging, waiting_and_running


def _wrap_halves():
    """The same for calls whose reply is read later."""
    begin_script, end_script = _pooled.HeldCaller.begin_script, _pooled.HeldCaller.end_script
    begun = []

    def beginning(self, script, keys, args):
        words = [part.decode('utf-8', 'replace') if isinstance(part, bytes) else part for part in args]
        begun[:] = _call_name(['EVALSHA', script.sha, len(keys), *keys, *words]), args
        reach('before ' + begun[0], _tasks_in(args))
        begin_script(self, script, keys, args)

    def ending(self):
        reply = end_script(self)
        reach('after ' + begun[0], _tasks_in((begun[1], reply)))
        return reply

    _pooled.HeldCaller.begin_script, _pooled.HeldCaller.end_script = beginning, ending


def _unpacked(request):
    """The parts of a request as it goes to Redis: `*2\\r\\n$4\\r\\nLLEN\\r\\n$7\\r\\ndefault\\r\\n`."""
    parts, at = [], request.index(b'\r\n') + 2
    while at < len(request):
        end = request.index(b'\r\n', at)
        start, size = end + 2, int(request[at + 1:end])
        parts.append(request[start:start + size])
        at = start + size + 2
    return parts


def _call_name(args):
    if args[0] not in ('EVALSHA', 'EVAL'):
        return 'BLPOP' if args[0] == 'BLPOP' else None
    name = _SCRIPTS[args[1]]
    arguments = args[3 + int(args[2]):]
    if name == 'advance_any':  # of a worker with several queues, which does both by it
        done, begun, mode, holder = (arguments[index] for index in (0, 2, 4, 6))
        return 'advance' if done or begun or holder.startswith('?') else 'take ' + mode
    if name == 'advance_many':  # of a worker that takes batches
        return 'advance'
    return 'take ' + arguments[0] if name == 'dequeue' else name


def _tasks_in(value):
    """The names of the tasks that a call speaks of, in order."""
    if isinstance(value, (list, tuple)):
        return [name for item in value for name in _tasks_in(item)]
    return [name.decode() for name in _TASK.findall(value)] if isinstance(value, bytes) else []


def _wrap_writer(half):
    """Before and after what is written at once: a message, or those of a batch."""
    write = _channel.Writer._send

    def writing(self, data):
        if _in_monitor():
            kind = 'payload'
            _reporter.current = _tasks_in(data)
        else:
            kind = 'report' if any(message[:1] == _runner.ENDED for message in _messages(data)) else 'timeout'
        reach('before %s' % kind)
        if half is not None and _in_monitor() and half in _reporter.current:
            _send_half(write, self, data)
        else:
            write(self, data)
        reach('after %s' % kind)

    _channel.Writer._send = writing


def _messages(data):
    reader = _channel.Reader(-1)
    reader._received += data
    return reader.messages()


def _send_half(write, writer, data):
    import signal
    child = _reporter.noted_child()
    os.kill(child, signal.SIGSTOP)  # it reads nothing meanwhile, so the pipe fills
    write(writer, data)
    os.kill(child, signal.SIGCONT)
    assert writer.pending, 'the payload is too small'
    reach('half payload')


def _wrap_reader():
    """After the child has a payload, and after the monitor has a report."""
    receive, receive_all, messages = _channel.Reader.receive, _channel.Reader.receive_all, _channel.Reader.messages

    def receiving(self):
        message = receive(self)
        if message is not None:
            _reporter.current = _tasks_in(message)
            reach('received')
        return message

    def receiving_all(self):
        received = receive_all(self)
        if received:
            _reporter.current = _tasks_in(received[0])
            reach('received')
        return received

    def reading(self):
        found = messages(self)
        if _in_monitor() and any(message[:1] == _runner.ENDED for message in found):
            reach('report read')
        return found

    _channel.Reader.receive, _channel.Reader.receive_all = receiving, receiving_all
    _channel.Reader.messages = reading


def _wrap_runner():
    run_task = _runner.Runner._run_task

    def running(self, job, now):
        _reporter.current = _tasks_in(job.payload)
        run_task(self, job, now)

    _runner.Runner._run_task = running


def _wrap_slot():
    """Before and after the child notes how far it is."""
    step = _page.Slot.step

    def note(self, value):
        reach('before %s is noted' % value.name.lower())
        step.fset(self, value)
        reach('after %s is noted' % value.name.lower())

    _page.Slot.step = property(step.fget, note)
