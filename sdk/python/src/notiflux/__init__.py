"""Client of notiflux, a real-time publish/subscribe server.

Client is for programs without asyncio, AsyncClient for those with it.
"""

from notiflux._core.plan import TokenRequest
from notiflux.aio import AsyncClient, AsyncTokenFunction
from notiflux.client import Client, TokenFunction
from notiflux.errors import LostError, LostReason, NotifluxError, PublishError
from notiflux.events import (
    Disconnected,
    Event,
    History,
    Joined,
    Left,
    Member,
    Message,
    Position,
    Presence,
    Present,
    Publication,
    Skipped,
    Subscribed,
)
from notiflux.signing import Signer
from notiflux.subscription import AsyncSubscription, Subscription

__all__ = [
    "AsyncClient",
    "AsyncSubscription",
    "AsyncTokenFunction",
    "Client",
    "Disconnected",
    "Event",
    "History",
    "Joined",
    "Left",
    "LostError",
    "LostReason",
    "Member",
    "Message",
    "NotifluxError",
    "Position",
    "Presence",
    "Present",
    "Publication",
    "PublishError",
    "Signer",
    "Skipped",
    "Subscribed",
    "Subscription",
    "TokenFunction",
    "TokenRequest",
]
