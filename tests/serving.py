"""A real server on loopback, in a thread of this process."""

import threading
import time
from contextlib import contextmanager

from gr_vl.server.run import make_server
from gr_vl.server.settings import Settings


@contextmanager
def served(model, **settings):
    """Its address, and the server itself."""
    server = make_server(Settings(model=model, port=0, **{"max_tokens": 8, "max_items": 4, "queue": 64} | settings))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", server
    finally:
        server.should_exit = True
        thread.join(30)
