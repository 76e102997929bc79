"""A control command of your own: what every host is to do, rather than whichever is free.

Type these in this directory, each in a terminal of its own:

    meshq node pictures --name shelf
    python keeper.py

In a shell it would be: meshq ctl broadcast cache clear=true --reply
"""

from meshq import Mesh

from pictures import develop

with Mesh() as mesh:
    print("made:", len(list(mesh.map(develop, range(20)))))

    # Each node replies for its host, even while all its slots are busy: commands run in a process of their own.
    # They see the same files as the tasks, but not the tasks' memory.
    for name, value in mesh.control.broadcast("cache", reply=True).by_node().items():
        print(f"{name.partition('@')[0]}: {value['ok']}")

    cleared = mesh.control.broadcast("cache", {"clear": True}, destination=["shelf"], reply=True)
    print("cleared:", [value["ok"]["pictures"] for value in cleared.by_node().values()])

    # An error in it is an error reply, and so is an argument that it does not take.
    for arguments in ({"clear": True}, {"empty": True}):
        (value,) = mesh.control.broadcast("cache", arguments, reply=True).by_node().values()
        print(f"with {arguments}: {value}")
