"""A node inside a program: it serves the mesh from a thread, and the program goes on with its own work.

Type this in this directory; no other node is needed:

    python program.py

The node's workers are processes of their own, as ever, so that tasks neither block the program nor share its
memory. They import the modules from the current directory, or from what is installed.
"""

import os

from meshq import Mesh
from meshq.config import load_settings
from meshq.node.thread import NodeThread

from chores import wash

# Named as the flags of 'meshq node' are; what is not given comes from MESHQ_* or meshq.toml, as there.
settings = load_settings({"name": "kitchen", "modules": ["chores"], "slots": 2}, given_as="argument")

serving = NodeThread(settings)
node = serving.start()  # returns when the node is ready
print(f"{node.name} serves at {node.address}")
try:
    with Mesh() as mesh:  # other programs on this mesh can use the node just as well
        results = list(mesh.map(wash, range(100)))
    print(f"{len(results)} plates washed")
    print("in this process:", any(pid == os.getpid() for _, pid in results))
finally:
    serving.stop()  # finishes what runs, hands back what waits
print("the node has stopped")
