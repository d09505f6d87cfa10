"""celery. Results are not stored; a task is acknowledged when it has run."""

import os

import chores
from celery import Celery

app = Celery('bench', broker='redis+socket://' + os.environ['BENCH_SOCKET'])
app.conf.update(task_ignore_result=True, task_acks_late=True, task_reject_on_worker_lost=True,
                broker_connection_retry_on_startup=True)
tasks = {name: app.task(function, name=name) for name, function in chores.SIMPLE.items()}


def enqueue(name, *args):
    tasks[name].delay(*args)
