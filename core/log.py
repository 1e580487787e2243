"""The one way that a line gets into a run's log."""
import os


def say(line: str) -> None:
    """Prints one line of the log at once; on a terminal it takes the place of the live line."""
    print(('\x1b[2K' if os.isatty(1) else '') + line, flush=True)
