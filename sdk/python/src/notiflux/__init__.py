"""Client of notiflux, a real-time publish/subscribe server.

Client is for programs without asyncio, AsyncClient for those with it.
"""

from notiflux._core.plan import TokenRequest
from notiflux.aio import AsyncClient, AsyncTokenFunction
from notiflux.client import Client, TokenFunction
from notiflux.errors import LostError, LostReason, NotifluxError, PublishError
from notiflux.events import History, Member, Message, Position, Presence, Publication
from notiflux.signing import Signer

__all__ = [
    "AsyncClient",
    "AsyncTokenFunction",
    "Client",
    "History",
    "LostError",
    "LostReason",
    "Member",
    "Message",
    "NotifluxError",
    "Position",
    "Presence",
    "Publication",
    "PublishError",
    "Signer",
    "TokenFunction",
    "TokenRequest",
]
