"""A Hub on loopback for tests: a real HTTP server with repositories on disk, a second port as file store, and faults.

::

    from hub_server import hub_server

    with hub_server(tmp_path / "hub") as hub:
        environment = hub.environment()               # HF_ENDPOINT, HF_TOKEN, HF_HOME and so on, for a subprocess
        hub.fail(status=500, method="PUT", times=2)   # the next two uploads fail
        hub.fail(cut_after=100_000, path="/store/")   # the next download breaks off
        hub.sent_objects()                            # bytes that arrived, by SHA-256
        hub.requests                                  # everything that was asked

Clients read their settings when they are imported, so they run in processes of their own. ``python tests/hub_server
FOLDER`` runs the same server from a shell.
"""

from hub_server.faults import Fault
from hub_server.server import Hub, Request, hub_server, online

__all__ = ["Fault", "Hub", "Request", "hub_server", "online"]
