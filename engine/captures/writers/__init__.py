"""Writes captures in the formats that are read: one file a format, tables of what each can say in formats.py."""
