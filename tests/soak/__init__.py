"""Producers and workers at work while everything is killed, frozen and stopped at random, Redis too. Nothing is lost.

    make soak SEED=7 SECONDS=300

    journal.py    what happened: one file to which every process appends
    tasks.py      what the workers run
    programs.py   the processes: a worker, a producer
    crew.py       starts them, starts them again when they are gone, and brings trouble upon them
    havoc.py      which trouble, when: chosen by the seed
    verdict.py    reads the journal: nothing may be lost, and whatever ran twice must have had a reason
    run.py        all of it, from the first process to the last

The seed chooses what is done, and when. What it meets depends on the machine, so a run does not repeat to the letter.
"""
