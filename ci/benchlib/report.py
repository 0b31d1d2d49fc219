"""The table: figures and their bars."""


def table(results):
    """Rows of (what, figure, bar, whether it holds)."""
    rows = []
    if serve := results.get("serve"):
        p99, growth = serve["first_byte_ms"]["p99"], serve["disk_growth_bytes_per_schematic"]
        rows.append((f"first byte of {serve['schematics']} never-seen schematics, p99", f"{p99:.1f} ms", "< 50 ms", p99 < 50))
        rows.append(("disk growth per schematic", f"{growth / 1024:.2f} KiB", "<= 8 KiB", growth <= 8192))
    if registry := results.get("registry"):
        first, second = registry["first_ms"]["p99"], registry["second_ms"]["p99"]
        growth = registry["disk_growth_bytes_per_installer"]
        rows += [
            (f"manifest of {registry['installers']} never-seen installers, p99", f"{first:.0f} ms", "< 1 s", first < 1000),
            ("... again, p99", f"{second:.1f} ms", "< 20 ms", second < 20),
            ("disk growth per installer, its schematic included", f"{growth / 1024:.2f} KiB", "<= 16 KiB", growth <= 16384),
        ]
    if image := results.get("image"):
        for peer, bar in (("literal", 20), ("tuned", 5)):
            for way, ours, key in (("imager build", "ours_wall_s", f"speedup_{peer}"),
                                   ("HTTP", "ours_http_wall_s", f"speedup_{peer}_http")):
                rows.append((f"{image['asset']}, {way}: {image[ours]:.2f} s against {image[peer + '_wall_s']:.1f} s ({peer})",
                             f"{image[key]:.0f} x", f">= {bar} x", image[key] >= bar))
        rows.append(("size against zstd -18 of the same disk", f"{(image['size_ratio'] - 1) * 100:+.2f} %", "<= +3 %", image["size_ratio"] <= 1.03))
    for row in results.get("squashfs", []):
        what = f"squashfs zstd {row['level']}, {row['threads']} thread(s), of mksquashfs's"
        rows += [
            (f"{what} {row['peer_wall_s']:.2f} s", f"{row['wall_ratio']:.2f}", "<= 1", row["wall_ratio"] <= 1),
            (f"{what} {row['peer_bytes'] / 1e6:.1f} MB", f"{row['bytes_ratio']:.4f}", "<= 1.01", row["bytes_ratio"] <= 1.01),
            (f"{what} {row['peer_peak_mib']:.0f} MiB of memory", f"{row['peak_ratio']:.2f}", "<= 0.2", row["peak_ratio"] <= 0.2),
        ]
    return rows + load_rows(results["load"]) if "load" in results else rows


def load_rows(load):
    rows, slow, first, soak = [], load["slow"], load["first_byte"], load["soak"]
    for row in load["throughput"]["connections"]:
        what = f"{load['throughput']['asset']}, {load['throughput']['bytes'] / 1e6:.0f} MB, {row['connections']} connection(s)"
        rows.append((f"{what}: {row['ours_mib_per_s']:.0f} MiB/s of nginx's {row['nginx_mib_per_s']:.0f}",
                     f"{row['ratio']:.2f}", ">= 0.8", row["ratio"] >= 0.8))
    rows += [
        (f"{slow['count']} slow downloads, peak of memory", f"{slow['peak_mib']:.0f} MiB", "< 512 MiB", slow["peak_mib"] < 512),
        ("... alive at the end", f"{slow['alive']}", f"{slow['count']}", slow["alive"] == slow["count"]),
        (f"first byte of {first['count']} never-seen schematics, 50 in flight, p99", f"{first['p99_ms']:.1f} ms", "< 50 ms", first["p99_ms"] < 50),
    ]
    memory, files = soak["resident_mib_by_fifth"], soak["open_files_by_fifth"]
    asked, unexpected = sum(soak["requests"].values()), sum(soak["unexpected"].values())
    growth = soak["disk_growth_bytes_per_schematic"]
    return rows + [
        (f"soak of {soak['seconds']:.0f} s, {asked} requests: unexpected answers", f"{unexpected}", "0", unexpected == 0),
        (f"... memory of its last fifth, {memory[1]:.0f} MiB in its second", f"{memory[4]:.0f} MiB", "<= 1.05 x + 4", not soak["resident_grows"]),
        (f"... open files of its last fifth, {files[1]:.0f} in its second", f"{files[4]:.0f}", "<= + 4", not soak["open_files_grow"]),
        (f"... disk growth of {soak['schematics']} schematics, each", f"{growth / 1024:.2f} KiB", "<= 8 KiB", growth <= 8192),
    ]
