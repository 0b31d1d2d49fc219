"""What both sides build from: the source images of the store, unpacked for the tools that need files."""

import json
import os
import re
import shutil
import tarfile
from pathlib import Path

from .machine import imager, say

EXTENSIONS = ["siderolabs/qemu-guest-agent", "siderolabs/iscsi-tools"]
ARCH, BOOT_FILE = {"x86_64": ("amd64", "BOOTX64.EFI"), "aarch64": ("arm64", "BOOTAA64.EFI")}[os.uname().machine]


class Inputs:
    """What both sides build from, read out of the store's images."""

    def __init__(self, store, work, version):
        self.store, self.work = store, work
        self.version = version or newest(store)
        say(f"inputs: {self.version} {ARCH}, {', '.join(EXTENSIONS)}")
        install = work / "install"
        for layer in self.layers("siderolabs/imager", self.version):
            unpack(layer, install)
        self.parts = install / "usr/install" / ARCH
        self.kernel, self.initramfs = self.parts / "vmlinuz", self.parts / "initramfs.xz"
        self.stub, self.boot = self.parts / "systemd-stub.efi", self.parts / "systemd-boot.efi"
        self.extensions = []
        self.listed = listed = {e["name"]: e for e in json.loads(imager(store, "extensions", self.version, "--json"))}
        for name in EXTENSIONS:
            tree = work / "ext" / name.replace("/", "_")
            for layer in self.manifest_layers(listed[name]["digest"]):
                unpack(layer, tree)
            self.extensions.append(tree / "rootfs")

    def blob(self, digest):
        return self.store / "blobs" / digest.replace(":", "/")

    def manifest_layers(self, digest):
        document = json.loads(self.blob(digest).read_text())
        if "manifests" in document:
            chosen = [m for m in document["manifests"] if m.get("platform", {}).get("architecture") == ARCH]
            return self.manifest_layers(chosen[0]["digest"])
        return [self.blob(layer["digest"]) for layer in document["layers"]]

    def layers(self, repository, tag):
        digest = imager(self.store, "store", "resolve", f"{repository}:{tag}").strip()
        return self.manifest_layers(digest)


def copy(store, into):
    """A store with the same content, so that what is measured leaves no trace in `store`."""
    def blob(source, target):
        # Blobs are never written again; links of them cost nothing.
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)

    unfinished = shutil.ignore_patterns("tmp", "scratch")
    shutil.copytree(store, into, ignore=lambda d, names: {"blobs", *unfinished(d, names)} if Path(d) == store else set())
    shutil.copytree(store / "blobs", into / "blobs", copy_function=blob)
    return into


def newest(store):
    versions = json.loads(imager(store, "versions", "--json"))
    names = [v if isinstance(v, str) else v["version"] for v in versions]
    return max(names, key=lambda v: [int(n) for n in re.findall(r"\d+", v)])


def unpack(layer, into):
    into.mkdir(parents=True, exist_ok=True)
    with tarfile.open(layer) as archive:
        archive.extractall(into, filter="tar") if hasattr(tarfile, "data_filter") else archive.extractall(into)


def schematic(number):
    lines = ["customization:", "    extraKernelArgs:", f"        - imager.bench={number}", "    systemExtensions:",
             "        officialExtensions:"]
    return "\n".join(lines + [f"            - {name}" for name in EXTENSIONS]) + "\n"
