"""Two nodes that are good for different things: a task goes only where its function and its tags are.

Type these in this directory, each in a terminal of its own:

    meshq node rendering --name artist --tag gpu
    meshq node rendering --name clerk --allow statistics:mean
    python studio.py

The clerk also offers a plain function of the standard library, which knows nothing of meshq.
"""

import statistics

from meshq import Mesh, UnknownTask

from rendering import draw, preview

with Mesh() as mesh:
    for node in sorted(mesh.wait_for_nodes(2, timeout=30), key=lambda node: node.name):
        print(f"{node.name}: tags {list(node.tags)}, offers {', '.join(node.functions)}")

    # To tell who did what: ping gives the process id of each node.
    names = {reply["pid"]: name.partition("@")[0] for name, reply in mesh.control.ping().by_node().items()}

    for what, pid in mesh.map(draw, ["a tree", "a house", "a cat"]):
        print(f"draw: {what}, by {names[pid]}")

    who = {names[pid] for _, pid in mesh.map(preview, (f"scene {number}" for number in range(200)))}
    print("preview: by", " and ".join(sorted(who)))

    print("mean:", mesh.submit(statistics.mean, [1, 2, 6]).result())

    # The same function with other tags, for one call.
    try:
        mesh.submit(preview.options(tags={"plotter"}), "a map").result()
    except UnknownTask:
        print("no node has the tag plotter")
