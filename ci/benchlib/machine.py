"""The machine: commands, what they take of it, and how much of it others take meanwhile."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGER = ROOT / "target/release/imager"
EPOCH = "1559424892"
BUSY = 0.1  # of the machine, by others: from here on the pairs differ more than the sides
PATIENCE = 4  # times as many pairs are run to meet a quiet machine
ENV = {**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": EPOCH}
ENV["PATH"] += ":/usr/sbin:/sbin"


def say(text):
    print(text, file=sys.stderr, flush=True)


def processor_seconds():
    """Seconds that all processors of the machine have been busy, and busy or not."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    hertz = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - ticks[3] - ticks[4]) / hertz, sum(ticks) / hertz


def others_share(work):
    """The result of `work`, and which share of the machine others take meanwhile. Its children have ended then."""
    def now():
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return *processor_seconds(), children.ru_utime + children.ru_stime + time.process_time()

    before = now()
    result = work()
    busy, everything, own = (b - a for a, b in zip(before, now()))
    return result, max(0, busy - own) / max(everything, 0.01)


def run(command, **options):
    """Runs a command; returns (wall seconds, CPU seconds, peak MiB of the largest process)."""
    # /usr/bin/time measures its child only, so that the parts do not mix.
    with tempfile.NamedTemporaryFile("r", suffix=".time") as report:
        shell = isinstance(command, str)
        words = ["bash", "-euo", "pipefail", "-c", command] if shell else [str(w) for w in command]
        start = time.perf_counter()
        subprocess.run(
            ["/usr/bin/time", "-q", "-o", report.name, "-f", "%U %S %M", *words],
            check=True, env=ENV, stdout=subprocess.DEVNULL, **options,
        )
        wall = time.perf_counter() - start
        user, system, peak = report.read().split()
        return wall, float(user) + float(system), int(peak) / 1024


def imager(store, *words):
    done = subprocess.run([str(IMAGER), "--store", str(store), *words], check=True, env=ENV, stdout=subprocess.PIPE)
    return done.stdout.decode()
