"""Runs a node until the command line can: takes the flags of ``meshq node``."""

import signal
import sys

from meshq.config import load_settings
from meshq.config.settings import SPECS
from meshq.node.node import Node
from meshq.observe import configure_logging

args = sys.argv[1:]
flags, modules, many = {}, [], {}
while args:
    arg = args.pop(0)
    if not arg.startswith("--"):
        modules.append(arg)
        continue
    name = next(n for n, s in SPECS.items() if s.flag == arg)
    if name in ("insecure", "allow_pickle"):
        flags[name] = True
    elif name in ("peers", "allow", "tags"):
        many.setdefault(name, []).append(args.pop(0))
    else:
        flags[name] = args.pop(0)
settings = load_settings({**flags, **{k: tuple(v) for k, v in many.items()}, "modules": tuple(modules)})
configure_logging(settings.log_level, settings.log_format)
node = Node(settings)
asked = []


def leave(*_):
    asked.append(1)
    node.drain() if len(asked) == 1 else node.stop()


signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGINT, leave)
node.run()
