"""Runs tasks until it gets SIGTERM, SIGINT (Ctrl-C) or SIGHUP; it finishes the task at hand first.

Start as many as you like, on as many machines as you like.
"""

from delayed.logger import logger, setup_logger
from delayed.worker import PreforkedWorker
from tasks import queue


def succeeded(task):
    logger.info('task %s is done', task.id)


def failed(task, kill_signal, exc_info):
    if kill_signal:
        logger.error('task %s was killed by signal %d', task.id, kill_signal)
    else:
        logger.error('task %s raised %r', task.id, exc_info[1])


if __name__ == '__main__':
    setup_logger()
    # ForkedWorker runs each task in a process of its own: slower, and nothing leaks from one task to the next.
    PreforkedWorker(queue, success_handler=succeeded, error_handler=failed).run()
