"""A server that makes training batches for runs on other machines: python -m official.data_service --port=5050

Runs with --config.train.data_service=grpc://HOST:5050 use it, also several at a time. It needs the files of the data under the
same paths as the run, and the same versions of the packages.

It takes work from whoever can reach its ports, PORT and PORT + 1, and reads every file that it may: start it in a network that
you trust only.
"""

import argparse
import contextlib
import signal
import socket
import sys

from official.cli import quiet, stopping

with quiet.startup():
    from official.data.service import serve

from official.cli.text_ops import text_ops


def main():
    parser = argparse.ArgumentParser(prog="python -m official.data_service", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=5050, help="it listens there and at the next one (default: 5050)")
    parser.add_argument("--host", default=socket.gethostname(), help="name of this machine for the runs (default: its own name)")
    given = parser.parse_args()
    if not 1 <= given.port < 65535:
        sys.exit(f"error: --port={given.port} is not allowed: it must be from 1 to 65534")
    stopping.listen("Stopped. Runs that use this server will end.")
    with contextlib.suppress(ValueError):  # it is not installed, and images do not need it
        text_ops()  # whose operations data sets of texts have
    try:
        servers = serve(given.host, given.port)
    except OSError as error:
        sys.exit(f"error: {error}")
    print(f"Making batches for runs with --config.train.data_service=grpc://{given.host}:{given.port}", flush=True)
    while servers:
        signal.pause()


if __name__ == "__main__":
    main()
