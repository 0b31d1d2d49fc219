"""Part `image`: a whole raw.zst, by `imager` and over HTTP, beside the pipeline."""

import statistics
import time

from .inputs import ARCH, schematic
from .machine import IMAGER, imager, run, say
from .pipeline import pipeline
from .server import Server


def measure(inputs, options, results):
    work = inputs.work / "image"
    work.mkdir(exist_ok=True)
    asset, nonce = f"metal-{ARCH}.raw.zst", time.time_ns()
    cmdline = imager(inputs.store, "build", f"cmdline-metal-{ARCH}", "--version", inputs.version, "-o", "-")

    def build(name, out):
        file = work / "schematic.yaml"
        file.write_text(schematic(f"{nonce}.{name}"))
        return run([IMAGER, "--store", inputs.store, "-q", "build", asset, "--version", inputs.version, "--schematic", file, "-o", out])

    out = work / asset
    build("warm", out)
    raw = work / "ours.raw"
    run(["zstd", "-q", "-f", "-d", out, "-o", raw])
    disk_len = raw.stat().st_size
    say("image: zstd -18 of our own disk, for the size")
    run(["zstd", "-q", "-f", "-T0", "-18", raw, "-o", work / "ours.18.zst"])
    best = (work / "ours.18.zst").stat().st_size
    (work / "ours.18.zst").unlink()
    raw.unlink()

    server, cli, http_, literal, tuned = Server(inputs.store), [], [], [], []

    def ours(n):
        cli.append(build(n, out))
        identity = server.post(schematic(f"{nonce}.http.{n}"))
        http_.append(server.get(f"/image/{identity}/{inputs.version}/{asset}")[1])

    def peers(n):
        tuned.append(pipeline(inputs, work / "tuned", 3, cmdline, disk_len)[0])
        steps, peer = pipeline(inputs, work / "literal", 18, cmdline, disk_len)
        literal.append(steps)
        return peer.stat().st_size

    try:
        for n in range(options.runs):
            say(f"image: pair {n + 1} of {options.runs}")
            if n % 2 == 0:
                ours(n)
            peer_len = peers(n)
            if n % 2 == 1:
                ours(n)
    finally:
        server.stop()

    def sums(runs, which):
        return [sum(step[which] for step in steps.values()) for steps in runs]

    walls = [wall for wall, _, _ in cli]
    figures = results["image"] = {
        "asset": asset, "runs": options.runs, "disk_bytes": disk_len,
        "ours_bytes": out.stat().st_size, "zstd18_of_the_same_disk_bytes": best, "peer_bytes": peer_len,
        "size_ratio": out.stat().st_size / best,
        "ours_wall_s": statistics.median(walls), "ours_cpu_s": statistics.median(c for _, c, _ in cli),
        "ours_peak_mib": max(p for _, _, p in cli), "ours_http_wall_s": statistics.median(http_),
    }
    for name, runs in (("literal", literal), ("tuned", tuned)):
        totals = sums(runs, 0)
        figures |= {
            f"{name}_wall_s": statistics.median(totals), f"{name}_cpu_s": statistics.median(sums(runs, 1)),
            f"{name}_steps_wall_s": {step: wall for step, (wall, _) in runs[-1].items()},
            f"speedup_{name}": statistics.median(a / b for a, b in zip(totals, walls)),
            f"speedup_{name}_http": statistics.median(a / b for a, b in zip(totals, http_)),
        }
