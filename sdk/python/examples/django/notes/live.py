"""The client of notiflux."""

import functools
from pathlib import Path

from django.conf import settings

from notiflux import Client, Signer

TOPIC = "notes"


@functools.cache
def signer():
    """Return what signs tokens."""
    return Signer(Path(settings.NOTIFLUX_KEY).read_bytes())


@functools.cache
def client():
    """Return the client of this process. It is made when it is needed, so after a fork."""
    return Client(settings.NOTIFLUX_URL, token=signer().token_function("back end"))
