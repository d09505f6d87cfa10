"""What the system and Redis say of a contestant: processor time, memory, round trips, commands.

Used by the benchmark and inside the contestants' own processes, so it needs the standard library alone.
"""

import os
import re
import socket

_TICK = os.sysconf('SC_CLK_TCK')
_SESSION, _USER, _CHILDREN_SYSTEM = 3, 11, 14  # fields of /proc/PID/stat that follow the command's name


def processes(session):
    """The processes of a session, each with the fields of its stat that follow the name."""
    found = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/stat' % pid) as file:
                fields = file.read().rpartition(')')[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[_SESSION]) == session:
            found[int(pid)] = fields
    return found


def cpu_seconds(session):
    """User and system time of all processes of a session and of the children that they have reaped."""
    return sum(int(ticks) for fields in processes(session).values()
               for ticks in fields[_USER:_CHILDREN_SYSTEM + 1]) / _TICK


def pss_bytes(session):
    """Memory of all processes of a session, in which what several share counts once in all."""
    total = 0
    for pid in processes(session):
        try:
            with open('/proc/%d/smaps_rollup' % pid) as file:
                total += sum(int(kilobytes) for kilobytes in re.findall(r'^Pss: +(\d+) kB', file.read(), re.MULTILINE))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total * 1024


def busy_seconds():
    """Processor time that all programs of the machine have used."""
    with open('/proc/stat') as file:
        user, nice, system, _idle, _waiting, *interrupts = map(int, file.readline().split()[1:])
    return (user + nice + system + sum(interrupts[:2])) / _TICK


def redis_counts(path):
    """What the server at the Unix socket has counted so far.

    trips: reads from clients; a client that waits for each reply, as all here do, is read once a round trip.
    commands: those that clients sent and those inside scripts and transactions. received, sent: bytes.
    cpu: seconds of the server.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(b'INFO everything\r\n')
        reader = connection.makefile('rb')
        text = reader.read(int(reader.readline()[1:])).decode()
    fields = dict(line.split(':', 1) for line in text.splitlines() if ':' in line)
    calls = {name[len('cmdstat_'):]: int(value[len('calls='):value.index(',')])
             for name, value in fields.items() if name.startswith('cmdstat_')}
    calls.pop('info', None)
    return {
        'trips': int(fields['total_reads_processed']),
        'commands': sum(calls.values()),
        'received': int(fields['total_net_input_bytes']),
        'sent': int(fields['total_net_output_bytes']),
        'cpu': float(fields['used_cpu_user']) + float(fields['used_cpu_sys']),
    }
