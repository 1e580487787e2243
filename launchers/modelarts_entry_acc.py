"""The vendors' ModelArts entry file for accuracy: launchers/boot_modelarts.py with --case=full."""
import os
import sys


def main() -> None:
    """Becomes the boot file."""
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from launchers.modelarts import entry
    os.execv(sys.executable, [sys.executable, entry.BOOT_FILE] + entry.arguments(sys.argv[1:], 'full'))


if __name__ == '__main__':
    main()
