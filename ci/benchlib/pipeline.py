"""The peer: a pipeline of the standard tools, as the reference runs them."""

import os
import shutil
import struct
import sys
import time
from pathlib import Path

from .inputs import BOOT_FILE
from .machine import run


def pipeline(inputs, work, level, cmdline, disk_len):
    """A schematic's metal raw.zst the usual way; returns ((wall, CPU) seconds by step, path)."""
    steps = {}

    def step(name, command):
        steps[name] = run(command)[:2]

    shutil.rmtree(work, ignore_errors=True)
    tree = work / "x"
    tree.mkdir(parents=True)
    names = []
    for i, root in enumerate(inputs.extensions):
        step(f"mksquashfs {i}", ["mksquashfs", root, tree / f"{i}.sqsh", "-all-root", "-noappend", "-no-progress", "-quiet",
                                 "-comp", "zstd", "-Xcompression-level", level])
        names.append(f"{i}.sqsh")
    (tree / "extensions.yaml").write_text("layers:\n" + "".join(f"    - image: {n}\n" for n in names))
    initrd = work / "initrd"
    shutil.copyfile(inputs.initramfs, initrd)
    listing = "\n".join(["extensions.yaml", *names]) + "\n"
    step("cpio + zstd, appended",
         f"cd {tree}; printf '%s' '{listing}' | cpio -H newc --create --reproducible --quiet -R +0:+0 | zstd -T0 -{level} -c --quiet >> {initrd}")
    uki, start, cpu = work / "uki.efi", time.perf_counter(), time.process_time()
    pe_with_sections(inputs.stub, [(b".osrel", b"ID=bench\n"), (b".cmdline", cmdline.encode()), (b".linux", inputs.kernel),
                                   (b".initrd", initrd)], uki)
    steps["unified kernel image"] = time.perf_counter() - start, time.process_time() - cpu
    esp = work / "esp"
    for directory in ("EFI/BOOT", "EFI/Linux", "loader"):
        (esp / directory).mkdir(parents=True)
    shutil.copyfile(inputs.boot, esp / "EFI/BOOT" / BOOT_FILE)
    os.rename(uki, esp / "EFI/Linux/bench.efi")
    (esp / "loader/loader.conf").write_text("timeout 10\n")
    raw, first, mib = work / "disk.raw", 2048, 1 << 20
    esp_len = disk_len - 3 * mib
    with open(raw, "wb") as file:
        file.truncate(disk_len)
    step("sgdisk", ["sgdisk", "-n", f"1:{first}:+{esp_len // mib}M", "-t", "1:ef00", "-c", "1:EFI", raw])
    step("mkfs.vfat + mcopy", f"mkfs.vfat -F 32 --invariant -n EFI --offset {first} {raw} {esp_len // 1024} 2>/dev/null; "
         f"mcopy -s -p -Q -m -i {raw}@@1M {esp}/EFI {esp}/loader ::")
    out = work / "disk.raw.zst"
    step(f"zstd -T0 -{level}", ["zstd", "-q", "-f", "-T0", f"-{level}", "-o", out, raw])
    return steps, out


def pe_with_sections(stub, sections, out):
    """A unified kernel image, laid out natively as the reference does, in one pass over the files."""
    data = bytearray(stub.read_bytes())
    pe = struct.unpack_from("<I", data, 0x3C)[0]
    count, size_opt = struct.unpack_from("<H", data, pe + 6)[0], struct.unpack_from("<H", data, pe + 20)[0]
    opt = pe + 24
    align, file_align = struct.unpack_from("<II", data, opt + 32)
    table = opt + size_opt
    first = min(struct.unpack_from("<I", data, table + 40 * i + 20)[0] or 1 << 31 for i in range(count))
    end_va = max(sum(struct.unpack_from("<II", data, table + 40 * i + 8)) for i in range(count))
    need = table + 40 * (count + len(sections))
    if need > first:
        sys.exit("bench: the stub has no room for section headers")
    up = lambda value, to: -(-value // to) * to
    offset, va, tail = up(len(data), file_align), up(end_va, align), []
    data.extend(b"\0" * (offset - len(data)))
    for i, (name, content) in enumerate(sections):
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        raw = up(size, file_align)
        struct.pack_into("<8sIIIIIIHHI", data, table + 40 * (count + i), name, size, va, raw, offset, 0, 0, 0, 0, 0x40000040)
        tail.append((content, raw - size))
        offset, va = offset + raw, up(va + size, align)
    struct.pack_into("<H", data, pe + 6, count + len(sections))
    struct.pack_into("<I", data, opt + 56, va)
    with open(out, "wb") as file:
        file.write(data)
        for content, pad in tail:
            if isinstance(content, Path):
                with open(content, "rb") as part:
                    shutil.copyfileobj(part, file, 1 << 20)
            else:
                file.write(content)
            file.write(b"\0" * pad)
