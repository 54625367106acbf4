"""Pictures of a request: embedded ones, and those of hosts that were allowed by name. Nothing else is fetched."""

from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx2

from gr_vl.data.images import MAX_BYTES
from gr_vl.errors import DataError
from gr_vl.guard.moderation import image_of_data_url

SECONDS = 10.0


class Pictures:
    """Reads image URLs."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        # A redirect could lead anywhere, and so could a proxy of the environment.
        self._client = httpx2.AsyncClient(timeout=SECONDS, follow_redirects=False, trust_env=False)

    async def read(self, url: str) -> bytes:
        """The file behind a URL. Raises DataError when it is neither embedded nor on an allowed host, or too large."""
        if url[:5].lower() == "data:":
            return image_of_data_url(url)
        self._check(url)
        data = bytearray()
        try:
            async with self._client.stream("GET", url) as answer:
                if answer.status_code != 200:
                    raise DataError(f"image_url: the host answered {answer.status_code}; embed the file")
                async for chunk in answer.aiter_raw():
                    data += chunk
                    if len(data) > MAX_BYTES:
                        raise DataError(f"image_url: more than {MAX_BYTES:,} bytes; encode it smaller")
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise DataError(f"image_url: cannot be fetched ({type(error).__name__}); embed the file") from None
        return bytes(data)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _check(self, url: str) -> None:
        try:
            found = urlsplit(url)
            allowed = found.scheme == "https" and found.hostname in self._hosts and found.port in (None, 443)
        except ValueError:
            allowed = False
        if not allowed or "@" in found.netloc or any(not char.isprintable() or char in " \\" for char in url):
            raise DataError(
                "image_url: only data:image/...;base64,... is read, and hosts of --image-host; embed the file"
            )
