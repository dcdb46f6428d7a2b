"""Runs the tests of client libraries that take a live server against Parley.

    library_suites.py PROGRAM [TEST...]

PROGRAM is parley. The libraries are those that go.mod names, in the versions
that it names. A TEST is a name such as Test_Will; without one all run. The exit
code is 0 when each test passed, or differed as DIFFERENCES says.

Only paho.mqtt.golang has such tests (fvt_client_test.go, 3.1.1). They connect
without a user name: a proxy puts user name and password into each CONNECT. The
others bring a server of their own:

- paho.golang: internal/basictestserver and internal/testserver stand for the
  network connection itself; no test dials.
- MQTT.js: test/node makes a server for each test (mqtt-connection, aedes) and
  looks at what it received.

Both run against Parley in test/clients instead.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

import parley_server

MODULE = "github.com/eclipse/paho.mqtt.golang"

# What the tests publish and subscribe to.
TOPICS = ("test/#", "/test/#", "/wills", "clean")

# The name of a test: the words that its failure must have, the clause, and why.
DIFFERENCES = {
    "Test_OverLengthTopic": (
        "panic: test timed out",
        "3.1.1 and MQTT 5, 4.7.3",
        "The test publishes to a topic of 65,535 bytes, the most that the standard has room for, and waits for ever "
        "for it. Parley takes topics of up to 1,024 bytes and 32 levels: what a stranger can make it keep is bounded.",
    ),
}

TIME_LIMIT = 30  # seconds for one test; the longest takes 10


async def serve_proxy(server):
    """Listens on a free port, and passes each connection on to the server with
    user name and password in its CONNECT."""

    async def pump(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def connected(reader, writer):
        try:
            connect = await read_connect(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return
        to_reader, to_writer = await asyncio.open_connection(server.host, server.port)
        to_writer.write(with_login(connect, server.user, server.token))
        await asyncio.gather(pump(reader, to_writer), pump(to_reader, writer))

    return await asyncio.start_server(connected, "127.0.0.1", 0)


async def read_connect(reader):
    """Reads the first packet and answers its body."""
    await reader.readexactly(1)
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return await reader.readexactly(length)


def with_login(body, user, token):
    """Answers a CONNECT that has user name and password besides. They are the
    last fields in both versions, and the flags stand after the protocol's name
    and level."""
    at = 2 + int.from_bytes(body[:2], "big") + 1
    fields = b"".join(len(f).to_bytes(2, "big") + f for f in (user.encode(), token.encode()))
    body = body[:at] + bytes([body[at] | 0xC0]) + body[at + 1 :] + fields
    length, rest = b"", len(body)
    while True:
        rest, low = divmod(rest, 128)
        length += bytes([low | (0x80 if rest else 0)])
        if not rest:
            return b"\x10" + length + body


@contextlib.contextmanager
def proxy(server):
    """Runs the proxy, and answers its address."""
    loop = asyncio.new_event_loop()
    listener = loop.run_until_complete(serve_proxy(server))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield "127.0.0.1:%d" % listener.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def folder_of_module():
    words = ["go", "list", "-m", "-f", "{{.Dir}}", MODULE]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def tests_of(path):
    """Answers the tests of a file."""
    with open(path) as text:
        return re.findall(r"^func (Test\w+)\(", text.read(), re.MULTILINE)


def run(binary, folder, address, name):
    """Runs one test, and answers whether it passed and what it printed."""
    process = subprocess.run(
        [binary, "-test.v", "-test.timeout=%ds" % TIME_LIMIT, "-test.run=^" + name + "$"],
        cwd=folder,
        # They put :1883 behind it. Behind the question mark nobody looks.
        env={**os.environ, "TEST_FVT_ADDR": address + "/?"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    passed = process.returncode == 0 and "--- PASS: " + name in process.stdout
    return passed, process.stdout


def judge(name, passed, output):
    """Answers what a test came to, and why."""
    difference = DIFFERENCES.get(name)
    if difference is None:
        return ("passed", "") if passed else ("FAILED", output)
    words, clause, reason = difference
    if passed:
        return "FAILED", "it stands among the expected differences, but it passed\n"
    if words not in output:
        return "FAILED", output
    return "differs", clause + ": " + reason + "\n"


def run_all(server, wanted):
    """Runs the wanted tests, or all, and answers how many came to what."""
    counts = {"passed": 0, "differs": 0, "FAILED": 0}
    folder = folder_of_module()
    names = [n for n in tests_of(os.path.join(folder, "fvt_client_test.go")) if not wanted or n in wanted]
    if set(wanted) - set(names):
        sys.exit("there is no test " + ", ".join(sorted(set(wanted) - set(names))))
    with tempfile.TemporaryDirectory() as scratch, proxy(server) as address:
        binary = os.path.join(scratch, "fvt")
        subprocess.run(["go", "test", "-c", "-o", binary, MODULE], check=True)
        for name in names:
            start = time.monotonic()
            passed, output = run(binary, folder, address, name)
            verdict, why = judge(name, passed, output)
            counts[verdict] += 1
            print("%-8spaho.mqtt.golang %s (%.1f s)" % (verdict, name, time.monotonic() - start))
            print(textwrap.indent(why, "        "), end="", flush=True)
    return counts


def main(program, wanted):
    with parley_server.serve(program, TOPICS, TOPICS) as server:
        counts = run_all(server, wanted)
        print("%(passed)d passed, %(differs)d differ as expected, %(FAILED)d failed" % counts)
        if counts["FAILED"]:
            sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
