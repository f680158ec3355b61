"""The routes."""

import json

from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.views import View
from django.views.decorators.http import require_POST

from notes.live import TOPIC, client, signer
from notes.models import Note


@require_POST
def token(request):
    """Sign a token for a user who is logged in."""
    user = request.COOKIES.get("user")
    if user is None:
        return HttpResponse(status=401)
    if json.loads(request.body)["topics"] != [TOPIC]:
        return HttpResponse(status=403)
    return HttpResponse(signer().sign(user, TOPIC, lifetime=60), content_type="text/plain")


class Notes(View):
    """The notes."""

    def get(self, request):
        """Return the notes. The position is read first, so that no message is missed."""
        position = client().position(TOPIC)
        notes = [note.as_dict() for note in Note.objects.order_by("pk")]
        return JsonResponse({"position": position, "notes": notes})

    def post(self, request):
        """Save a note, and publish it once it is saved for good."""
        with transaction.atomic():
            note = Note.objects.create(text=json.loads(request.body)["text"])
            transaction.on_commit(lambda: client().publish(TOPIC, note.as_dict()))
        return JsonResponse(note.as_dict(), status=201)
