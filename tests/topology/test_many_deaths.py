"""Masters die one after the other, and slots move meanwhile, under load. (`make faults`)"""

import random

import pytest

from delayed.queue import Queue
from delayed.sharded import ShardedQueue
from delayed.worker import ForkedWorker, PreforkedWorker
from waiting import wait_until

from .load import Account, produce, start

DEATHS = 4
pytestmark = pytest.mark.long


class TestACluster:
    def test_keeps_what_a_replica_had_whichever_masters_die_and_whatever_moves(self, cluster, lab, tmp_path):
        chance = random.Random(1)

        def make():
            return ShardedQueue('orders', 4, cluster.client(), min_replicas=1)

        for worker_class in (PreforkedWorker, ForkedWorker, PreforkedWorker):
            lab.start(lambda: worker_class(make(), lease=5, sweep_interval=1).run())  # noqa: B023
        lab.start(lambda: produce(make, tmp_path / 'stop'))
        account = Account(lab)
        for _ in range(DEATHS):
            account.await_more()
            key = '{orders:%d}' % chance.randrange(4)
            cluster.move_slot(key, batch=chance.choice([1, 3, 100]))
            account.await_more()
            dead = cluster.master_of(key)
            dead.kill()
            wait_until(lambda: cluster.master_of(key) is not dead, 'another master')  # noqa: B023
            dead.start().await_answer()
            account.await_more()
            cluster.await_health()
        (tmp_path / 'stop').touch()
        account.await_all()


class TestAMasterBeforeSentinels:
    def test_leaves_what_a_replica_had_to_the_next_one_each_time(self, watched, lab, tmp_path):
        account = start(lab, tmp_path, [PreforkedWorker, ForkedWorker], 'default', watched.client, min_replicas=1)
        for _ in range(DEATHS):
            account.await_more()
            dead = watched.master()
            dead.kill()
            wait_until(lambda: watched.master() not in (None, dead), 'another master')  # noqa: B023
            account.await_more()
            dead.start().await_answer()
            watched.await_health(60)
        (tmp_path / 'stop').touch()
        account.await_all()
        assert Queue('default', watched.client()).dead_len() == 0
