"""What sees the bench, and how the bench ought to look.

In reading order: `frame` (a photograph, and what any camera does) · `camera` (the one that a configuration names; the
one that replays a folder) · `live` (V4L2, GStreamer, picamera2) · `thread` (a driver that hangs holds up nothing but
itself) · `appearance` (how a plate lies and is lit: pure), `calibration` (how far that has drifted).
"""
