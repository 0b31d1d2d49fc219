"""The soak of part `load`: requests of every kind for minutes, while memory and open files are watched."""

import statistics
import threading
import time

from .clients import SOFT_LIMIT, load
from .inputs import ARCH
from .machine import others_share, say
from .server import Server, disk_usage

CLIENTS = 8
EVERY_S = 0.5
# By how much the median of the last fifth may exceed that of the second: noise of an allocator, and of what is
# being answered in the moment of looking.
MEMORY_FACTOR, MEMORY_MIB = 1.05, 4
FILES = 4


class Watch(threading.Thread):
    """Looks at a server every now and then."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.seen, self.over, self.begun = server, [], threading.Event(), time.monotonic()

    def run(self):
        while not self.over.wait(EVERY_S):
            self.seen.append((time.monotonic() - self.begun, self.server.resident_mib(), self.server.open_files()))

    def stop(self):
        self.over.set()
        self.join()
        return self.seen


def measure(inputs, options):
    say(f"load: soak of {options.soak} s")
    before, server = disk_usage(inputs.store), Server(inputs.store, soft_limit=SOFT_LIMIT)
    try:
        idle = server.open_files()
        watch = Watch(server)
        watch.start()
        figures, others = others_share(lambda: load(
            "soak", server.address, inputs.version, ARCH, CLIENTS, options.soak), [server])
        seen = watch.stop()
        time.sleep(1)
        after = server.open_files()
    finally:
        server.stop()
    growth = (disk_usage(inputs.store) - before) / figures["schematics"]
    return figures | judged(seen) | {
        "open_files_idle_before": idle, "open_files_idle_after": after,
        "disk_growth_bytes_per_schematic": growth, "others_share": others,
    }


def judged(seen):
    """Whether memory and open files grow from the second fifth to the last."""
    end = seen[-1][0]
    fifths = [[row for row in seen if n * end / 5 <= row[0] <= (n + 1) * end / 5] for n in range(5)]
    memory = [statistics.median(row[1] for row in fifth) for fifth in fifths]
    files = [statistics.median(row[2] for row in fifth) for fifth in fifths]
    later = [row for fifth in fifths[1:] for row in fifth]
    slope = statistics.linear_regression([row[0] / 60 for row in later], [row[1] for row in later]).slope
    return {
        "resident_mib_by_fifth": memory, "open_files_by_fifth": files, "resident_mib_per_minute": slope,
        "resident_grows": memory[4] > MEMORY_FACTOR * memory[1] + MEMORY_MIB,
        "open_files_grow": files[4] > files[1] + FILES,
    }
