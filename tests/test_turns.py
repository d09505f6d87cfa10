"""Which of a worker's queues is asked first."""

from delayed._turns import Rounds, Turns


def taken(turns, number, waiting):
    """The queues from which so many tasks are taken, where `waiting(queue)` says whether it has any."""
    found = []
    for _ in range(number):
        queue = next(each for each in turns.order() if waiting(each))
        turns.took(queue)
        found.append(queue)
    return found


def test_in_strict_order_the_first_that_has_a_task_comes_first():
    turns = Turns(3)
    assert taken(turns, 3, lambda queue: True) == [0, 0, 0]
    assert taken(turns, 2, lambda queue: queue == 2) == [2, 2]
    assert turns.order() == [0, 1, 2]


def test_by_weight_each_full_queue_gets_exactly_its_share_and_is_never_kept_waiting_for_longer():
    found = taken(Turns(3, [5, 2, 1]), 80, lambda queue: True)
    seldom = [at for at, queue in enumerate(found) if queue == 2]
    assert max(after - before for before, after in zip(seldom, seldom[1:])) <= 9
    assert [found.count(queue) for queue in range(3)] == [50, 20, 10]


def test_by_weight_the_order_is_the_same_each_time():
    assert taken(Turns(2, [3, 1]), 8, lambda queue: True) == [0, 1, 0, 0, 0, 1, 0, 0]


def test_what_one_queue_leaves_goes_to_the_others():
    assert taken(Turns(2, [1, 1000]), 3, lambda queue: queue == 0) == [0, 0, 0]


def test_a_queue_that_was_empty_for_long_has_saved_up_nothing():
    turns = Turns(2, [1, 1])
    taken(turns, 1000, lambda queue: queue == 0)
    assert taken(turns, 6, lambda queue: True).count(1) == 3


def test_a_task_that_was_given_back_does_not_count():
    turns = Turns(2, [1, 1])
    for _ in range(10):
        turns.took(0)
        turns.gave_back(0)
    assert taken(turns, 2, lambda queue: True) == [0, 1]


def test_a_tiny_weight_is_a_share_too():
    found = taken(Turns(2, [1, 0.01]), 202, lambda queue: True)
    assert found.count(1) == 2


def test_in_rounds_each_full_queue_gives_some_in_a_row():
    count = Rounds.IN_A_ROW
    assert taken(Rounds(3, first=1), 4 * count, lambda queue: True) == [
        queue for queue in (1, 2, 0, 1) for _ in range(count)]


def test_in_rounds_an_empty_queue_is_passed_over_and_the_one_found_is_stayed_with():
    rounds = Rounds(3)
    assert taken(rounds, 2, lambda queue: queue == 2) == [2, 2]
    assert rounds.order() == [2, 0, 1]
