"""Nova (API, conductor, scheduler, compute) and Placement in one process, beside a network service without networks.

Nova's parts talk by oslo.messaging, whose transport ``fake:/`` lives in one process: so no message broker is needed.
``/placement`` is Placement, ``/network`` the network service, ``/_ready`` says 200 once all serve, the rest is Nova's.
"""

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from typing import Any

sys.argv = ["nova"]  # Nova reads it, and would take the server's own options for its own

import sqlite_serial  # noqa: E402, F401 - must come before the services
from nova.wsgi.osapi_compute import application as nova  # noqa: E402
from placement.wsgi.api import application as placement_service  # noqa: E402

Environ = dict[str, Any]
Start = Callable[..., Any]

READY = threading.Event()
PLACEMENT = threading.Lock()


def application(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Answer a request by the service that its path names."""
    path = environ.get("PATH_INFO", "")
    if path == "/_ready":
        return _reply(start_response, "200 OK" if READY.is_set() else "503 Service Unavailable", {})
    for prefix, service in (("/placement", placement), ("/network", network)):
        if path == prefix or path.startswith(f"{prefix}/"):
            environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
            environ["PATH_INFO"] = path.removeprefix(prefix)
            return service(environ, start_response)
    answer: Iterable[bytes] = nova(environ, start_response)
    return answer


def placement(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Answer as Placement does, one request at a time.

    Of two that claim at once, the later reads again what it holds locked itself, and SQLite lets it wait for that.
    """
    with PLACEMENT:
        found: Iterable[bytes] = placement_service(environ, start_response)
        return found


def network(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Answer that there is nothing: of a server without a network Nova asks for no more."""
    kind = environ["PATH_INFO"].removeprefix("/v2.0").strip("/").removesuffix(".json").replace("-", "_")
    if environ["REQUEST_METHOD"] != "GET" or "/" in kind:
        return _reply(start_response, "404 Not Found", {"NeutronError": {"type": "NotFound", "message": kind}})
    version = {"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": "v2.0"}]}
    return _reply(start_response, "200 OK", {kind: []} if kind else {"versions": [version]})


def _reply(start_response: Start, status: str, answer: dict[str, Any]) -> Iterable[bytes]:
    body = json.dumps(answer).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _serve() -> None:
    """Start the services; end the whole server where one of them does not start."""
    try:
        _start_services()
        READY.set()
    except BaseException:  # noqa: BLE001 - whatever it is, nobody would wait for a thread
        traceback.print_exc()
        os.kill(os.getppid(), signal.SIGTERM)


def _start_services() -> None:
    import nova.conf
    import os_brick
    import os_vif
    from nova import context, objects, service
    from nova.compute import rpcapi as compute
    from nova.conductor import rpcapi as conductor
    from nova.objects import host_mapping
    from nova.scheduler import rpcapi as scheduler

    os_brick.setup(nova.conf.CONF)
    os_vif.initialize()
    objects.register_all()
    topics = {
        "nova-conductor": {"topic": conductor.RPC_TOPIC},
        "nova-scheduler": {"topic": scheduler.RPC_TOPIC},
        "nova-compute": {"topic": compute.RPC_TOPIC, "topic_alt": compute.RPC_TOPIC_ALT},
    }
    for binary, named in topics.items():
        service.Service.create(binary=binary, **named).start()
    # What ``nova-manage cell_v2 discover_hosts`` does.
    host_mapping.discover_hosts(context.get_admin_context())


# The compute service asks Placement in this very process: so not while this module is imported.
threading.Thread(target=_serve, name="services", daemon=True).start()
