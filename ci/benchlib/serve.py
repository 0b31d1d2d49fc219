"""Part `serve`: the first byte of schematics never seen before, and the disk they take."""

import time

from .inputs import ARCH, schematic
from .server import Server, disk_usage, percentile


def measure(inputs, options, results):
    server = Server(inputs.store)
    try:
        path = lambda i: f"/image/{i}/{inputs.version}/metal-{ARCH}.raw.zst"
        server.get(path(server.post(schematic("warm"))), first_byte_only=True)
        nonce = time.time_ns()
        before, posts, firsts = disk_usage(inputs.store), [], []
        for n in range(options.schematics):
            text, start = schematic(f"{nonce}.{n}"), time.perf_counter()
            identity = server.post(text)
            posts.append(time.perf_counter() - start)
            firsts.append(server.get(path(identity), first_byte_only=True)[0])
        growth = (disk_usage(inputs.store) - before) / options.schematics
        results["serve"] = {
            "schematics": options.schematics,
            "first_byte_ms": {"p50": percentile(firsts, 0.5) * 1e3, "p99": percentile(firsts, 0.99) * 1e3, "max": max(firsts) * 1e3},
            "post_ms": {"p50": percentile(posts, 0.5) * 1e3, "p99": percentile(posts, 0.99) * 1e3},
            "disk_growth_bytes_per_schematic": growth,
            "resident_mib": server.peak_mib(),
        }
    finally:
        server.stop()
