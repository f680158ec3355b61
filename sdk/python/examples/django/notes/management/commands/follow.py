"""python manage.py follow."""

from django.core.management.base import BaseCommand

from notes.live import TOPIC, client
from notiflux import LostError, Message


class Command(BaseCommand):
    """Follows the notes."""

    help = "Print the notes as they come."

    def handle(self, *args, **options):
        """Print each note."""
        with client().subscribe(TOPIC, last=100) as events:
            while True:
                try:
                    for event in events:
                        if isinstance(event, Message):
                            self.stdout.write(f"{event.data['id']} {event.data['text']}")
                            self.stdout.flush()
                    break
                except LostError as lost:
                    self.stdout.write(f"notes are missing: {lost.reason}")
