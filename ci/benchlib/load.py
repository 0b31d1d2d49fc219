"""Part `load`: downloads beside nginx, thousands of slow ones, thousands of new schematics, and a soak."""

import hashlib
import os
import statistics
import sys

from . import soak
from .clients import SOFT_LIMIT, load
from .inputs import ARCH, schematic
from .machine import BUSY, PATIENCE, http_get, others_share, say
from .nginx import Nginx
from .server import Server

CONNECTIONS = (1, 4, 16)
SECONDS = 5  # of a side of a pair
SLOW_SECONDS = 30
IN_FLIGHT = 50


def quietest(times, work, processes):
    """The result of the run of `work` with the least foreign load: the first quiet one, or of many."""
    runs = []
    for _ in range(times):
        result, others = others_share(work, processes)
        runs.append((others, result))
        if others < BUSY:
            break
    others, result = min(runs, key=lambda run: run[0])
    return result | {"others_share": others, "runs": len(runs)}


def measure(inputs, options, results):
    figures = results["load"] = {}
    path = f"/image/{{}}/{inputs.version}/metal-{ARCH}"
    server = Server(inputs.store, soft_limit=SOFT_LIMIT)
    try:
        # The longest asset without runs of zeros, which cost us nothing to read: a kernel image with every extension,
        # about 100 MB. To be short is to our disadvantage: it is planned anew for each download.
        figures["throughput"] = throughput(inputs, options, server, path.format(server.post(everything(inputs))) + "-uki.efi")
        say(f"load: first byte of {options.never_seen} never-seen schematics, {IN_FLIGHT} in flight")
        figures["first_byte"] = quietest(PATIENCE, lambda: load(
            "first-byte", server.address, inputs.version, f"metal-{ARCH}.raw.zst", options.never_seen, IN_FLIGHT), [server])
    finally:
        server.stop()

    # A server of its own: the peak is of the slow downloads alone.
    server = Server(inputs.store, soft_limit=SOFT_LIMIT)
    try:
        say(f"load: {options.slow} slow downloads")
        identity = server.post(schematic("slow"))
        figures["slow"], others = others_share(lambda: load(
            "slow", server.address, path.format(identity) + ".raw.zst", options.slow, SLOW_SECONDS), [server])
        figures["slow"] |= {"count": options.slow, "peak_mib": server.peak_mib(), "others_share": others}
    finally:
        server.stop()
    figures["soak"] = soak.measure(inputs, options)


def everything(inputs):
    """A schematic with all extensions of the version."""
    names = "".join(f"            - {name}\n" for name in sorted(inputs.listed))
    return f"customization:\n    systemExtensions:\n        officialExtensions:\n{names}"


def throughput(inputs, options, server, path):
    """Downloads of the same bytes from both, in pairs whose order alternates."""
    files = inputs.work / "files"
    files.mkdir()
    checksum = hashlib.sha256()
    with open(files / "asset", "wb") as file:
        for chunk in server.chunks(path):
            checksum.update(chunk)
            file.write(chunk)
    if checksum.hexdigest() not in server.text(path + ".sha256"):
        sys.exit(f"bench: {path} is not what its checksum says")
    # What was written just now lies in memory in larger pieces than what was read from a disk, and is sent a quarter faster.
    # Both sides have read theirs, as after a start of the machine.
    for file in [files / "asset", *(inputs.store / "blobs" / "sha256").iterdir()]:
        forget(file)
    for _ in server.chunks(path):
        pass
    figures = {"asset": path.rsplit("/", 1)[1], "bytes": (files / "asset").stat().st_size, "connections": []}
    peer = Nginx(files, inputs.work / "nginx")
    try:
        answer = http_get(peer.port, "/asset")
        while answer.read(1 << 20):
            pass
        sides = {"ours": (server, path), "nginx": (peer, "/asset")}
        for connections in CONNECTIONS:
            figures["connections"].append(pairs(options, sides, connections))
    finally:
        peer.stop()
    return figures


def forget(path):
    """Has the kernel forget what it has of a file in memory."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def pairs(options, sides, connections):
    """Pairs until enough were quiet, or for as long as patience lasts."""
    done = []
    for n in range(options.runs * PATIENCE):
        quiet = [pair for pair in done if pair["others_share"] < BUSY]
        if len(quiet) >= options.runs:
            break
        say(f"load: throughput, {connections} connection(s), pair {n + 1}")
        pair = {"others_share": 0}
        for side in sorted(sides, reverse=n % 2 == 0):
            process, path = sides[side]
            before = process.cpu_s()
            measured, others = others_share(lambda: load("throughput", process.address, path, connections, SECONDS), [process])
            pair[side] = measured["mib_per_s"]
            pair[f"{side}_cpu_s_per_gib"] = (process.cpu_s() - before) / (measured["bytes"] / (1 << 30))
            pair["others_share"] = max(pair["others_share"], others)
        done.append(pair)
    quiet = [pair for pair in done if pair["others_share"] < BUSY]
    # A pair that others disturbed counts only when there are not enough quiet ones.
    judged = quiet if len(quiet) >= options.runs else done
    median = lambda key: statistics.median(pair[key] for pair in judged)
    return {
        "connections": connections, "pairs": len(done), "quiet": len(quiet), "others_share": median("others_share"),
        "ratio": statistics.median(pair["ours"] / pair["nginx"] for pair in judged),
        "ratios": [pair["ours"] / pair["nginx"] for pair in judged],
        **{f"{side}_{unit}": median(side + key) for side in sides
           for unit, key in (("mib_per_s", ""), ("cpu_s_per_gib", "_cpu_s_per_gib"))},
    }
