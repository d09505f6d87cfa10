from delayed.constants import BUF_SIZE, SIGNAL_MASK, Status


class TestTheNumbersThatProgramsUse:
    def test_are_those_of_the_first_release(self):
        assert BUF_SIZE == 65536
        assert SIGNAL_MASK == 0xff
        assert (Status.STOPPED, Status.RUNNING, Status.STOPPING) == (0, 1, 2)
