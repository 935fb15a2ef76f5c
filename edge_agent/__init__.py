"""The program on the reader: photograph, read, keep, sync."""
