"""Where processes of one machine meet that no `torchrun` has started."""

MEETING_VARIABLE = "SOUNDLORA_MEETING"
"""It holds the path of a file by which they find each other: no port is opened for it."""
