"""Part `registry`: the first manifest of installer images never seen before, the second, and the disk they take."""

import http.client
import sys
import time

from .inputs import schematic
from .server import Server, disk_usage, percentile

ACCEPT = "application/vnd.oci.image.index.v1+json"


def measure(inputs, options, results):
    server = Server(inputs.store)
    try:
        # The parts, of both architectures, are in the store: what is derived from them, too.
        manifest(server, server.post(schematic("warm")), inputs.version)
        nonce, count = time.time_ns(), options.installers
        before = disk_usage(inputs.store)
        ids = [server.post(schematic(f"{nonce}.{n}")) for n in range(count)]
        firsts = [manifest(server, identity, inputs.version) for identity in ids]
        growth = (disk_usage(inputs.store) - before) / count
        seconds = [manifest(server, identity, inputs.version) for identity in ids]
        figures = lambda times: {f"p{p}": percentile(times, p / 100) * 1e3 for p in (50, 99)} | {"max": max(times) * 1e3}
        results["registry"] = {
            "installers": count,
            "first_ms": figures(firsts),
            "second_ms": figures(seconds),
            "disk_growth_bytes_per_installer": growth,
        }
    finally:
        server.stop()


def manifest(server, identity, version):
    """Seconds that the index of both architectures took, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    start = time.perf_counter()
    connection.request("GET", f"/v2/installer/{identity}/manifests/{version}", headers={"accept": ACCEPT})
    answer = connection.getresponse()
    body = answer.read()
    took = time.perf_counter() - start
    connection.close()
    if answer.status != 200:
        sys.exit(f"bench: the manifest of {identity} answered {answer.status}: {body[:300]!r}")
    return took
