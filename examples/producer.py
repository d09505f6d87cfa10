"""Enqueues a few tasks and ends. No worker has to run: the tasks wait in Redis."""

import os
import tempfile

from delayed.delay import delay, delay_in_time
from delayed.task import Task
from tasks import add, count_words, divide, queue

delay = delay(queue)
delay_in_time = delay_in_time(queue)

# A decorated function can be called as ever, or enqueued.
add(1, 2)
add.delay(3, 4)
add.timeout(10)(5, b=6)  # it may run for 10 seconds

# Any function at the top level of a module can be enqueued.
delay(divide)(1, 2)
delay_in_time(divide, timeout=10)(1, 0)  # fails: the worker logs it, calls the error handler and goes on

# Its module need not even be importable here, so long as it is for the worker.
queue.enqueue(Task(id=None, module_name='tasks', func_name='add', args=(7, 8)))

# Pass a path or a key, not the data: what is passed is pickled and kept in Redis.
target = os.path.join(tempfile.gettempdir(), 'words.txt')
count_words.delay(os.path.abspath(__file__), target)

print('%d tasks wait; the last one writes %s' % (queue.len(), target))
