"""Keys, tokens and passwords of the environment, kept out of everything that the job prints."""
import os
import re
import sys
import urllib.parse
from typing import List, Mapping

from core import log

_NAMES = re.compile(r'ACCESS_?KEY|SECRET|(TOKEN|PASSWORD|PASSWD)$', re.I)
_SHORTEST = 4                  # characters; a shorter value is no key, and could be a part of any other word


def variables(environ: Mapping[str, str]) -> List[str]:
    """The names in `environ` with values that are secrets."""
    return [name for name in environ if _NAMES.search(name)]


def redacted(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """`text` with *** instead of every secret of `environ`, also escaped as in a URL, and of every URL's password."""
    values = {environ[name] for name in variables(environ) if len(environ[name]) >= _SHORTEST}
    spellings = values | {urllib.parse.quote(value, safe='') for value in values}
    for secret in sorted(spellings, key=len, reverse=True):  # a secret may be a part of a longer one
        text = text.replace(secret, '***')
    return log.without_passwords(text)


def say(line: str) -> None:
    """Prints one line of the job's log, redacted."""
    log.say(redacted(line))


def complain(text: str) -> None:
    """Prints an error message or a traceback to standard error, redacted."""
    print(redacted(text), file=sys.stderr, flush=True)
