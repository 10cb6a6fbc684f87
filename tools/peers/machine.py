"""machine.py - what the figures were measured on, and programs with their peak.

SPDX-License-Identifier: MIT
"""

import collections
import json
import os
import platform
import subprocess
import threading
import time

# anon: of peak_rss, bytes that no file stands behind; sampled every 50 ms.
Run = collections.namedtuple("Run", "output seconds peak_rss peak_anon")


def has_bf16():
    with open("/proc/cpuinfo") as f:
        return "avx512_bf16" in f.read()


def cpu_name():
    with open("/proc/cpuinfo") as f:
        names = [line.split(":")[1].strip() for line in f if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions():
    import importlib.metadata as m

    return f"torch {m.version('torch').split('+')[0]}, openvino {m.version('openvino').split('-')[0]}"


def status_bytes(pid, field):
    """A field of /proc/PID/status in bytes; 0 if the process is gone."""
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class AnonPeak:
    """The most anonymous memory a process had while this is open."""

    def __init__(self, pid):
        self.pid, self.bytes, self.ends = pid, 0, threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)
        self.thread.start()

    def sample(self):
        while not self.ends.wait(0.05):
            self.bytes = max(self.bytes, status_bytes(self.pid, "RssAnon"))

    def end(self):
        self.ends.set()
        self.thread.join()
        return self.bytes


def run(command, errors=None):
    """Run a program that prints little; raises with its last words if it fails."""
    start = time.perf_counter()
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors or subprocess.PIPE)
    anon = AnonPeak(p.pid)
    words = []
    reader = threading.Thread(target=lambda: words.append(p.stderr.read()), daemon=True)
    if not errors:
        reader.start()
    output = p.stdout.read().decode(errors="replace")
    _, status, usage = os.wait4(p.pid, 0)
    seconds = time.perf_counter() - start
    p.returncode = os.waitstatus_to_exitcode(status)
    if not errors:
        reader.join()
    if p.returncode:
        last = (b"".join(words).decode(errors="replace").strip() or output.strip()).splitlines()
        raise RuntimeError(f"{command[0]} ended with {p.returncode}: {last[-1] if last else 'no words'}")
    return Run(output, seconds, usage.ru_maxrss * 1024, anon.end())


def run_json(command):
    r = run(command)
    return json.loads(r.output.strip().splitlines()[-1]), r


def gb(n_bytes):
    return f"{n_bytes / 1e9:.2f}"
