"""Run the Hub from a shell until it is interrupted: ``python tests/hub_server FOLDER``."""

import json
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hub_server import hub_server


def main():
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with hub_server(sys.argv[1]) as hub:
        print(json.dumps({"endpoint": hub.endpoint, "token": hub.token, "owner": hub.owner}), flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
