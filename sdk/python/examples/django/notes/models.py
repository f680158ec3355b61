"""What is saved."""

from django.db import models


class Note(models.Model):
    """A note."""

    text = models.TextField()

    def as_dict(self):
        """Return what is published."""
        return {"id": self.pk, "text": self.text}
