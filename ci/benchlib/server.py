"""A factory to ask, and what it leaves on the disk."""

import http.client
import json
import resource
import subprocess
import sys
import time

from .machine import ENV, ROOT, Process, free_port, http_get

SERVER = ROOT / "target/release/factory-server"


class Server(Process):
    """A factory on a free port of the loopback."""

    def __init__(self, store, soft_limit=None):
        """`soft_limit` is of open files: what the server is started with."""
        def limit():
            if soft_limit:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft_limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

        self.port = free_port()
        self.process = subprocess.Popen([str(SERVER), "--store", str(store), "--listen", self.address], env=ENV,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=limit)
        for _ in range(200):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/healthz")
                if connection.getresponse().read() is not None:
                    return
            except OSError:
                time.sleep(0.05)
        sys.exit("bench: the server did not start")

    def post(self, text):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", "/schematics", body=text.encode())
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 201:
            sys.exit(f"bench: POST answered {answer.status}: {body[:200]!r}")
        return json.loads(body)["id"]

    def get(self, path, first_byte_only=False):
        """Returns (seconds to the first byte of the body, seconds in all, length)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        start = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            sys.exit(f"bench: GET {path} answered {answer.status}: {answer.read(300)!r}")
        length = len(answer.read(1))
        first = time.perf_counter() - start
        if not first_byte_only:
            buffer = bytearray(1 << 20)
            while count := answer.readinto(buffer):
                length += count
        total = time.perf_counter() - start
        connection.close()
        return first, total, length

    def chunks(self, path):
        """The body in pieces."""
        answer = http_get(self.port, path)
        if answer.status != 200:
            sys.exit(f"bench: GET {path} answered {answer.status}: {answer.read(300)!r}")
        while chunk := answer.read(1 << 20):
            yield chunk

    def text(self, path):
        return b"".join(self.chunks(path)).decode()


def disk_usage(store):
    return sum(p.lstat().st_blocks * 512 for p in store.rglob("*"))


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
