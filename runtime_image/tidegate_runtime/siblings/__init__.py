"""Several processes that answer for one server, where one core is not enough for many tiny runs (`--workers`).

    clients -> accepting.py in the main process --- connections ---> process.py, each sibling: model, loop, engine
               family.py, life.py: start, restart, end them <--- wire.py: what was counted ---
               together.py: one set of counts -> metrics and evidence

The main process stays what it is alone: it listens, answers its share, and has the metrics port.  It accepts for all
and gives each connection to the process that has the fewest: several processes that accept from one socket share it
unevenly.  A sibling obeys nobody else, and ends with it.  A server of one process imports accepting.py and choose.py.
"""
