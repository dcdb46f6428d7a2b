"""Starts a Parley server for a suite of somebody else's tests."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

USER = "suite"

START_LIMIT = 30  # seconds until the server must say where it listens


@dataclass
class Server:
    """A running server, and a user whom it lets in."""

    host: str
    port: int  # of MQTT over TCP
    user: str
    token: str


@contextlib.contextmanager
def serve(program, pub, sub):
    """Runs the program parley on a free port of 127.0.0.1 with an empty data
    folder, and stops it at the end. The token opens the ordinary topics of the
    filters pub and sub. The server's log is printed when the suite fails, that
    is, when an error comes out of the with statement."""
    # It takes its settings from here alone, and never those of the shell.
    env = {k: v for k, v in os.environ.items() if not k.startswith("PARLEY_")}
    with tempfile.TemporaryDirectory(prefix="parley-suite-") as folder:
        data = ["--data-dir", os.path.join(folder, "data")]
        words = [program, "token", "--sub", USER, *data]
        words += ["--acl-pub=" + f for f in pub] + ["--acl-sub=" + f for f in sub]
        token = subprocess.run(words, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        out, log = os.path.join(folder, "out"), os.path.join(folder, "log")
        with open(out, "w") as stdout, open(log, "w") as stderr:
            process = subprocess.Popen(
                [program, "serve", "--mqtt-addr=127.0.0.1:0", "--http-addr=", "--log-level=warn", "--max-reconnects=0", *data],
                env=env, stdout=stdout, stderr=stderr,
            )
        try:
            port = await_port(process, out)
            yield Server("127.0.0.1", port, USER, token)
            if process.poll() is not None:
                raise RuntimeError("the server ended by itself with code %d" % process.returncode)
        except BaseException:
            with open(log) as text:
                sys.stderr.write(text.read())
            raise
        finally:
            process.terminate()
            process.wait(30)


def await_port(process, out):
    """Answers the port that the server says it listens on."""
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        with open(out) as text:
            found = re.search(r"^ +MQTT +127\.0\.0\.1:(\d+)$", text.read(), re.MULTILINE)
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise RuntimeError("the server did not start")
