"""What goes wrong, and how it shows in the script.

Type these in this directory, each in a terminal of its own:

    meshq node shaky
    python errors.py
"""

from meshq import EncodingError, Mesh, RemoteError, UnknownTask, WorkerLost

from shaky import OutOfStock, crash, divide, order, query

with Mesh() as mesh:
    # What a task raises is raised here: same type, same arguments. Its traceback is the exception's cause, so
    # that an uncaught error shows the lines that ran on the node.
    try:
        mesh.submit(divide, 1, 0).result()
    except ZeroDivisionError as error:
        print(f"1. {type(error).__name__}: {error}")
        lines = str(error.__cause__).splitlines()
        print("   on the node:", next(line.strip() for line in lines if "shaky.py" in line))

    # Types of your own work alike, if the script has imported them.
    try:
        mesh.submit(order, "spoons", 12).result()
    except OutOfStock as error:
        print(f"2. {type(error).__name__}: {error.missing} {error.item} missing")

    # A type that the script has not imported is never imported for it: it comes as RemoteError.
    try:
        mesh.submit(query).result()
    except RemoteError as error:
        print(f"3. RemoteError of type {error.type_name}: {error}")

    # map raises the first error that it comes to; with return_exceptions it goes on, and yields errors in place.
    for value in mesh.map(divide, [6, 6, 6], [1, 0, 2], return_exceptions=True):
        print(f"4. {value!r}")

    # A function that no node offers: known within a second, and the message says what would help.
    try:
        mesh.submit("shaky.multiply", 2, 3).result()
    except UnknownTask as error:
        print(f"5. UnknownTask: {error}")

    # The worker process dies: the node replaces it and tries again, three times at most.
    try:
        mesh.submit(crash).result()
    except WorkerLost as error:
        print(f"6. WorkerLost: {error}")

    # What cannot travel fails here and now, before anything is sent.
    try:
        mesh.submit(divide, 1, open)
    except EncodingError as error:
        print(f"7. EncodingError: {error}")

    print(f"8. and the node still works: {mesh.submit(divide, 84, 2).result()}")
