"""Part `squashfs`: ours beside mksquashfs."""

from .machine import BUSY, PATIENCE, ROOT, others_share, run, say

SQUASHFS = ROOT / "target/release/examples/squashfs"


def measure(inputs, options, results):
    work = inputs.work / "squashfs"
    work.mkdir(exist_ok=True)
    run(f"cd {work}; zstd -dc {inputs.initramfs} | cpio -idm --quiet rootfs.sqsh 2>/dev/null")
    tree = work / "rootfs"
    run(["unsquashfs", "-q", "-n", "-f", "-d", tree, work / "rootfs.sqsh"])
    rows = results["squashfs"] = []
    for level in options.levels:
        for threads in (1, 2):
            commands = {
                "ours": [SQUASHFS, tree, work / "ours.sqsh", "--level", level, "--threads", threads],
                "peer": ["mksquashfs", tree, work / "peer.sqsh", "-all-root", "-noappend", "-no-progress", "-quiet", "-comp",
                         "zstd", "-Xcompression-level", level, "-processors", threads],
            }
            measured, quietest = {"ours": [], "peer": []}, {"ours": 1, "peer": 1}
            for n in range(options.runs * PATIENCE):
                if n >= options.runs and max(quietest.values()) < BUSY:
                    break
                say(f"squashfs: zstd {level}, {threads} thread(s), pair {n + 1}")
                for side in ("ours", "peer") if n % 2 == 0 else ("peer", "ours"):
                    figures, others = others_share(lambda: run(commands[side]))
                    measured[side].append(figures)
                    quietest[side] = min(quietest[side], others)
            row = {"level": level, "threads": threads, "runs": len(measured["ours"]), "others_share": quietest}
            for side, runs in measured.items():
                # The least of the times: what others do to a run can only lengthen it.
                row |= {
                    f"{side}_wall_s": min(wall for wall, _, _ in runs), f"{side}_cpu_s": min(cpu for _, cpu, _ in runs),
                    f"{side}_peak_mib": max(peak for _, _, peak in runs),
                    f"{side}_bytes": (work / f"{side}.sqsh").stat().st_size,
                }
            for key in ("wall_s", "cpu_s", "peak_mib", "bytes"):
                row[key.split("_")[0] + "_ratio"] = row[f"ours_{key}"] / row[f"peer_{key}"]
            rows.append(row)
