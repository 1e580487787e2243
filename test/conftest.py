"""Puts the repository on sys.path: test/ is no package, so as not to hide the standard library's."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
