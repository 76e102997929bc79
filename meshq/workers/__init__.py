"""The child processes that run tasks: spawned, fed, watched, recalled from and reaped.

``pool`` is the node's side; ``child`` is what each process runs. Between the two are a data pair (runs one
way, results and output the other) and a control pair (recalls, soft limits), both spoken as ``channel`` and
``link`` say.
Nothing here imports ZeroMQ: a worker stays free of it until a task submits something itself.
"""
