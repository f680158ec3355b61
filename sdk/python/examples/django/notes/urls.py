"""The routes by path."""

from django.urls import path

from notes.views import Notes, token

urlpatterns = [path("token", token), path("notes", Notes.as_view())]
