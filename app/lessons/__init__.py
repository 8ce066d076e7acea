"""Lessons: stories of steps, each a text beside a run, written as Markdown files that a lecturer can edit (docs/lessons.md)."""
