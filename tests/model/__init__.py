"""A model of the ledger, and a search through every way in which workers can use it.

    reference.py   what each move must do, in plain Python
    arena.py       runs the scripts themselves, on a real server, from any state and with the time standing still
    world.py       the ledger and all who use it at one moment, in a form in which equal situations are equal
    turn.py        what a move is, and how it is judged
    workers.py     the moves of workers of ours and of 0.5.1b2; a reply may be lost, and a worker die, at any time
    others.py      the moves of time, producers, sweepers and a person
    search.py      visits every world that can be reached, and holds the scripts to the reference and to the promises
    casts.py       who plays, and the faults, of 0.5.1b2 and of our own making, that the search must find
    machine.py     the same ledger through the client's own connection, under whatever calls Hypothesis thinks of
"""
