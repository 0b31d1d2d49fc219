"""The load generator, `ci/examples/load/`."""

import json
import resource
import subprocess

from .machine import ENV, ROOT

LOAD = ROOT / "target/release/examples/load"
# Open files that a server under load is started with: what service managers give. It shall help itself.
SOFT_LIMIT = 1024


def load(*words):
    """What it measured."""
    def limit():
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    done = subprocess.run([str(LOAD), *map(str, words)], check=True, env=ENV, stdout=subprocess.PIPE, preexec_fn=limit)
    return json.loads(done.stdout)
