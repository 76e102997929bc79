"""The smallest mesh: one node, one task, its result.

Type these in this directory, each in a terminal of its own:

    meshq node greetings
    python hello.py

No address is given anywhere: the script finds the node by mDNS.
"""

from meshq import Mesh

from greetings import hello

print(hello("you"))  # a plain call: it runs here, and needs no mesh

with Mesh() as mesh:
    future = mesh.submit(hello, "mesh")  # a concurrent.futures.Future
    print(future.result(timeout=30))

# Detached: the node that accepts the task owns it from then on, so the script may end before it has run.
result = hello.delay("whoever reads the node's log")
print(f"task {result.id} is on its way")
