"""The peer of the downloads: nginx, which serves files."""

import os
import socket
import subprocess
import sys
import time

from .machine import ENV, Process, free_port


class Nginx(Process):
    """nginx on a free port of the loopback, with a configuration of its own. Serves the files of `root`."""

    def __init__(self, root, work):
        self.port = free_port()
        work.mkdir()
        # As its manual has it for large files; the time of writing a log is no part of the comparison.
        temporary = "".join(f"    {kind}_temp_path {work}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (work / "nginx.conf").write_text(f"""\
daemon off;
pid {work}/pid;
worker_processes 2;
{"user root;" if os.getuid() == 0 else ""}
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
{temporary}    server {{ listen 127.0.0.1:{self.port}; root {root}; }}
}}
""")
        self.process = subprocess.Popen(["nginx", "-p", str(work), "-e", "stderr", "-c", str(work / "nginx.conf")],
                                        stdout=subprocess.DEVNULL, env=ENV)
        for _ in range(200):
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        sys.exit("bench: nginx did not start")
