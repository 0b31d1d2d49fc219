"""The machine: commands, what they take of it, and how much of it others take meanwhile."""

import http.client
import os
import re
import resource
import socket
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
ENV["PATH"] += f":/usr/sbin:/sbin:{ROOT}/target/tools/nginx/usr/sbin"


def say(text):
    print(text, file=sys.stderr, flush=True)


def processor_seconds():
    """Seconds that all processors of the machine have been busy, and busy or not."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    hertz = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - ticks[3] - ticks[4]) / hertz, sum(ticks) / hertz


def others_share(work, processes=()):
    """The result of `work`, and which share of the machine others take meanwhile.

    Not counted as others are the children of `work`, which have ended then, and `processes`, which have not.
    """
    def now():
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = children.ru_utime + children.ru_stime + time.process_time()
        return *processor_seconds(), own + sum(process.cpu_s() for process in processes)

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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def http_get(port, path):
    """The answer to a request, its body still to be read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("GET", path)
    return connection.getresponse()


class Process:
    """A server that runs, on a port of the loopback."""

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def cpu_s(self):
        """CPU seconds of all its threads and children."""
        own = self.process.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in (own, *children)]
        return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self, which):
        """A figure of the kernel: `VmRSS`, resident now, or `VmHWM`, the most that ever was."""
        return int(re.search(which + r":\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024

    def peak_mib(self):
        return self.memory_mib("VmHWM")

    def resident_mib(self):
        return self.memory_mib("VmRSS")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
