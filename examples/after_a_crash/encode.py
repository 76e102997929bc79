"""A program that dies in the middle, and goes on where it was when it is started again.

Type these in this directory, the node in a terminal of its own. The first run of the script dies; the second one
attaches to the tasks of the first, none of which runs twice:

    meshq node films --slots 2
    python encode.py
    python encode.py
"""

import json
import os
import tempfile
import uuid
from pathlib import Path

from meshq import Mesh, ResultGone

from films import encode

NOTES = Path(tempfile.gettempdir()) / "films-under-way.json"

with Mesh() as mesh:
    if not NOTES.exists():
        ids = {film: str(uuid.uuid4()) for film in ("Alien", "Brazil", "Casablanca")}
        NOTES.write_text(json.dumps(ids))  # before they are submitted, so that none is ever forgotten
        futures = [mesh.submit(encode.options(task_id=task_id), film) for film, task_id in ids.items()]
        print(futures[0].result(timeout=30))
        print("and now the power goes", flush=True)
        os._exit(0)

    attached = {film: mesh.attach(task_id) for film, task_id in json.loads(NOTES.read_text()).items()}
    for film, future in attached.items():
        try:
            print(future.result(timeout=30))
        except ResultGone:  # it never reached a node: nothing speaks against submitting it now
            print(mesh.submit(encode, film).result(timeout=30))
    NOTES.unlink()
