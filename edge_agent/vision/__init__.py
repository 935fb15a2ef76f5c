"""Reading a plate from a photograph."""
