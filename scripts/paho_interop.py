"""Runs the Eclipse Paho interoperability suite against a server with tokens.

The suite (paho.mqtt.testing, interoperability/client_test.py for 3.1.1 and
client_test5.py for MQTT 5) connects without a user name, does not always wait
for a SUBACK, and waits for ever for a message that does not come. Here its
clients log in and wait, each test has a time limit, and a test that only
answers False has failed. None of its files is changed.

    paho_interop.py PROGRAM SUITE [TEST...]

PROGRAM is parley; SUITE is the folder of the two files. A TEST is a name such
as test_basic or client_test5.test_basic; without one all run. The exit code is
0 when each test passed, or differed as DIFFERENCES says.
"""

import contextlib
import importlib
import io
import logging
import signal
import sys
import textwrap
import time
import unittest

import parley_server

# What the suite expects and this server does not do: the words that its failure
# must have, the clause, and why. A test that differs in another way fails, and
# so does one that stands here and passes.
DIFFERENCES = {
    "client_test5.test_server_keep_alive": (
        "ServerKeepAlive",
        "MQTT 5, 3.1.2.10 and 3.2.2.3.14",
        "The test wants the server to answer a Keep Alive of 120 s with a Server Keep Alive of 60 s. "
        "The property is the server's choice; Parley takes the client's Keep Alive as it is.",
    ),
    "client_test5.test_subscribe_failure": (
        "return code in QoS must be 0, 1, 2 or 0x80",
        "MQTT 5, 3.9.3 and 5.4.2",
        "The test wants a subscription that is not allowed to get 0x80 (unspecified error), and its decoder takes no "
        "other. Parley answers 0x87 (not authorized), which says why. In 3.1.1 it is 0x80, and the test passes.",
    ),
}

FILES = ("client_test", "client_test5")

# Not found by its name, though it is a test like the others.
FORGOTTEN = ("will_message_test",)

TIME_LIMIT = 60  # seconds for one test; the longest takes 25

# What the suite publishes to, and what it subscribes to: it clears the retained
# messages of its topics with #.
PUB = ("TopicA/#", "Topic/C", "/TopicA", "$TopicA/B", "client_test5/#")
SUB = ("#",)

# The suite wants one topic that may not be subscribed to. Nobody is a member of
# this conversation.
NOT_ALLOWED = "chat/of-others/messages"


class TimeIsUp(Exception):
    """A test took longer than TIME_LIMIT."""


def load(name, suite, server):
    """Imports a file of the suite and gives it what its main block would."""
    sys.path.insert(0, suite)
    try:
        module = importlib.import_module(name)
    finally:
        sys.path.remove(suite)
    data = {
        "host": server.host,
        "port": server.port,
        "topics": ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA"),
        "wildtopics": ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#"),
        "nosubscribe_topics": (NOT_ALLOWED,),
        "topic_prefix": "client_test5/",
    }
    # client_test5 sets the topics again before its first test.
    module.setData = lambda: vars(module).update(data)
    module.setData()
    log_in(module, server)
    wait_for_subacks(module.mqtt_client.Client)
    return module


def log_in(module, server):
    """Makes the clients of a file send user name and password."""
    client = module.mqtt_client.Client
    connect = client.connect
    user, token = server.user, server.token.encode()

    def with_token(self, *args, **kwargs):
        if hasattr(module, "MQTTV5"):
            # Its decoder takes no PUBACK with a reason string: ask for none
            # [MQTT-3.1.2-29].
            formats = module.MQTTV5
            properties = kwargs.pop("properties", None) or formats.Properties(formats.PacketTypes.CONNECT)
            properties.RequestProblemInformation = 0
            kwargs["properties"] = properties
        return connect(self, *args, username=user, password=token, **kwargs)

    client.connect = with_token


def wait_for_subacks(client):
    """Makes the clients of a file wait for the answer to a SUBSCRIBE. Some tests
    look for the answer in the other client, and publish too early."""
    subscribe = client.subscribe

    def patiently(self, *args, **kwargs):
        packet = subscribe(self, *args, **kwargs)
        deadline = time.monotonic() + 3
        while self.callback and time.monotonic() < deadline:
            if any(answered == packet for answered, _ in self.callback.subscribeds):
                break
            time.sleep(0.01)
        return packet

    client.subscribe = patiently


def names_of(module):
    """Answers the tests of a file in its order of names."""
    found = unittest.TestLoader().getTestCaseNames(module.Test)
    return found + [name for name in FORGOTTEN if hasattr(module.Test, name)]


def run(module, name):
    """Runs one test and answers what is wrong, or nothing."""
    output = io.StringIO()
    result = unittest.TestResult()
    test = module.Test(name)
    method = getattr(test, name)

    def strictly():
        # Some tests tell of a failure by their answer alone.
        test.assertIsNot(method(), False, "the test answered False")

    setattr(test, name, strictly)
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), time_limit():
        test.run(result)
    problems = [text for _, text in result.errors + result.failures]
    if result.skipped:
        problems.append("skipped")
    if problems:
        return "\n".join([output.getvalue().rstrip(), *problems])
    return ""


@contextlib.contextmanager
def time_limit():
    def ring(signum, frame):
        raise TimeIsUp("no end after %d s" % TIME_LIMIT)

    signal.signal(signal.SIGALRM, ring)
    # Again and again: the suite catches everything in some places.
    signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT, 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def prepare(module):
    """Brings the file's clients and the server's memory to the beginning."""
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), time_limit():
        module.Test.setUpClass()


def judge(full, problem):
    """Answers what a test came to, and why."""
    difference = DIFFERENCES.get(full)
    if difference is None:
        return ("FAILED", problem) if problem else ("passed", "")
    words, clause, reason = difference
    if not problem:
        return "FAILED", "it stands among the expected differences, but it passed\n"
    if words not in problem:
        return "FAILED", problem
    return "differs", clause + ": " + reason + "\n"


def run_all(server, suite, wanted):
    """Runs the wanted tests, or all, and answers how many came to what."""
    counts = {"passed": 0, "differs": 0, "FAILED": 0}
    unknown = set(wanted)
    for file in FILES:
        module = load(file, suite, server)
        names = [n for n in names_of(module) if not wanted or n in wanted or file + "." + n in wanted]
        unknown -= {n for name in names for n in (name, file + "." + name)}
        if names:
            prepare(module)
        for name in names:
            full = file + "." + name
            start = time.monotonic()
            problem = run(module, name)
            verdict, why = judge(full, problem)
            counts[verdict] += 1
            print("%-8s%s (%.1f s)" % (verdict, full, time.monotonic() - start))
            print(textwrap.indent(why, "        "), end="", flush=True)
            if problem:
                prepare(module)  # what it left must not fail the next one
    if unknown:
        sys.exit("there is no test " + ", ".join(sorted(unknown)))
    return counts


def main(program, suite, wanted):
    logging.disable()  # what is wrong is in the tests' own output
    with parley_server.serve(program, PUB, SUB) as server:
        counts = run_all(server, suite, wanted)
        print("%(passed)d passed, %(differs)d differ as expected, %(FAILED)d failed" % counts)
        if counts["FAILED"]:
            sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
