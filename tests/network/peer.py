#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The Python at the other end: peer.py <what> <address> <key or -> [<more>...]

An address is a path, or host:port. Exits 0 when everything was as it must be."""
import os
import pickle
import signal
import struct
import sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from multiprocessing.managers import BaseManager

SIZES = [0, 1, 16384, 16385, 1 << 20]
VALUES = [None, True, False, 0, 1, -1, 255, 256, 65535, 65536, -2**31, 2**31, 2**63 - 1, -2**63, 2**64 - 1, -129,
          1.5, -0.0, float("inf"), "", "text", "\u00e4\u20ac\U0001f600", "x" * 300, b"", b"ab\xff\x00\x80", b"y" * 300,
          [], [1, [2, [3]]], (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, {"a": 1, (1, 2): [b"z"], None: {}}]
VALUES.append([VALUES[-1], VALUES[-1], VALUES[22]])  # the same thing twice


def address_of(text):
    host, colon, port = text.rpartition(":")
    return (host, int(port)) if colon else text


def echo(connection):
    try:
        while True:
            connection.send_bytes(connection.recv_bytes())
    except EOFError:
        pass


def talk(connection):
    for size in SIZES:
        message = bytes(i * 7 % 251 for i in range(min(size, 5000))) + b"x" * max(0, size - 5000)
        connection.send_bytes(message)
        assert connection.recv_bytes() == message, size
    connection.close()


def half(connection):
    """Dies inside a message."""
    os.write(connection.fileno(), struct.pack("!i", 1000) + b"x" * 10)
    os.kill(os.getpid(), signal.SIGKILL)


def huge(connection):
    """Says that more than 2 GiB come, and goes."""
    os.write(connection.fileno(), struct.pack("!iQ", -1, 3 << 30) + b"x")


def hears_huge(connection):
    """Hears that more than 2 GiB come, and goes."""
    header = b""
    while len(header) < 12:
        header += os.read(connection.fileno(), 12 - len(header))
    assert struct.unpack("!iQ", header) == (-1, (1 << 31) + 5), header


def pickles(connection):
    for protocol in range(2, min(pickle.HIGHEST_PROTOCOL, 5) + 1):
        for dumps in (pickle.dumps, pickle._dumps):
            for value in [*VALUES, VALUES]:
                connection.send_bytes(dumps(value, protocol))
                answer = connection.recv()
                assert answer == value and type(answer) is type(value), (answer, value)
    for value in VALUES:
        connection.send(value)
        assert connection.recv() == value
    connection.close()


def foreign(connection):
    """What is not in the subset."""
    values = [2**64, -2**63 - 1, {1, 2}, frozenset(), bytearray(b"x"), 1j, os.getcwd, Exception("x"), range(3), object]
    itself = []
    itself.append(itself)
    for value in [*values, itself]:
        connection.send(value)
    connection.send("the end")
    connection.close()


def refused(address, key):
    try:
        Client(address, authkey=key)
    except (AuthenticationError, EOFError, ConnectionResetError):
        return
    raise AssertionError("it was let in")


def manager(address, key):
    import queue
    items = queue.Queue()

    class Manager(BaseManager):
        pass

    Manager.register("get_queue", callable=lambda: items)
    served = Manager(address, key).get_server()
    served.serve_forever()


TALKS = {talk.__name__: talk, echo.__name__: echo, half.__name__: half, huge.__name__: huge,
         hears_huge.__name__: hears_huge, pickles.__name__: pickles, foreign.__name__: foreign}


def main():
    what, address, key = sys.argv[1], address_of(sys.argv[2]), None if sys.argv[3] == "-" else os.fsencode(sys.argv[3])
    if what == "refused":
        return refused(address, key)
    if what == "manager":
        return manager(address, key)
    side, talk_of = what.split("_", 1)
    if side == "client":
        TALKS[talk_of](Client(address, authkey=key))
        return None
    with Listener(address, authkey=key) as listener:
        try:
            TALKS[talk_of](listener.accept())
        except (AuthenticationError, EOFError):
            sys.exit(3)
    return None


if __name__ == "__main__":
    main()
