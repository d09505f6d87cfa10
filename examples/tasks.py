"""The tasks and the queue in which they wait. The producer and the worker both import this module.

The programs beside it look for Redis at REDIS_URL, and at redis://localhost:6379 where that is not set.
"""

import os
from collections import Counter

import redis

from delayed.delay import delayed
from delayed.queue import Queue

conn = redis.Redis.from_url(os.environ.get('REDIS_URL', 'redis://localhost:6379'))
queue = Queue('examples', conn)
task = delayed(queue)


@task()
def add(a, b):
    print('%d + %d = %d' % (a, b, a + b))


@task(timeout=30)
def count_words(source, target):
    """Writes how often each word of the file `source` occurs, into the file `target`.

    A task may run twice (README.md tells when). So this one writes beside the target and renames that in the end:
    nobody ever sees half of the result, and a second run changes nothing.
    """
    with open(source) as text:
        counts = Counter(text.read().split())
    unfinished = '%s.%d' % (target, os.getpid())
    with open(unfinished, 'w') as result:
        for word, count in counts.most_common():
            result.write('%d %s\n' % (count, word))
    os.replace(unfinished, target)


def divide(a, b):
    print('%d / %d = %g' % (a, b, a / b))
