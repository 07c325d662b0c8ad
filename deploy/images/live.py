"""The health check of an image: `python -m deploy.images.live URL` ends with 0 where it answers 200, else with 1."""

from __future__ import annotations

import http.client
import sys
from urllib.parse import urlsplit

_WITHIN_S = 3.0


def answer(url: str) -> str:
    """Empty where `url` answers 200 within three seconds, else the reason in words."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_WITHIN_S)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        body = response.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {error or type(error).__name__}"
    finally:
        connection.close()
    return "" if response.status == http.client.OK else f"{url}: {response.status} {body}"


def main() -> None:
    """Print what is wrong, if anything is."""
    if wrong := answer(sys.argv[1]):
        print(wrong)
        sys.exit(1)


if __name__ == "__main__":
    main()
