"""Start, serve until SIGTERM or Ctrl-C, finish what runs, end."""

import signal

import uvicorn

from gr_vl.server.app import create_app
from gr_vl.server.backend import Backend, InProcess, Remote
from gr_vl.server.connection import bound
from gr_vl.server.settings import Settings

KEEP_ALIVE = 5
"""Seconds that an idle connection stays open."""


def make_server(settings: Settings) -> uvicorn.Server:
    """A server with its model loaded, not yet listening."""
    backend: Backend = Remote(settings) if settings.backend_url else InProcess(settings)
    config = uvicorn.Config(
        create_app(backend, settings),
        host=settings.host,
        port=settings.port,
        log_level="info",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=settings.grace,
        server_header=False,
        http=bound(settings),
    )
    return uvicorn.Server(config)


def serve(settings: Settings) -> None:
    """Serve. Returns after a graceful shutdown: the port is closed first, then what was taken is answered."""
    server = make_server(settings)
    # uvicorn raises the signal again once it is done; by then there is nothing left to end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    server.run()
