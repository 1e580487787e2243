"""The pages for users, and the commands in them."""
import glob
import os
import re

from launching import ROOT

CHINESE = ['README.zh.md'] + sorted(
    os.path.relpath(path, ROOT) for path in glob.glob(os.path.join(ROOT, 'docs', '*.zh.md')))
PAIRS = [(name.replace('.zh.md', '.md'), name) for name in CHINESE]    # (English, Chinese)


def page(name):
    """The text of a page, by its path in the repository."""
    with open(os.path.join(ROOT, name), encoding='utf-8') as file:
        return file.read()


def blocks(name):
    """The bash blocks of a page."""
    return re.findall(r'^```bash\n(.*?)^```', page(name), re.DOTALL | re.MULTILINE)


def commands(name):
    """The lines of the bash blocks without comments, backslashes joined."""
    return lines_of('\n'.join(blocks(name)))


def lines_of(text):
    """The commands of some bash."""
    return [' '.join(re.sub(r'(^|\s)#.*', '', line).split()) for line in text.replace('\\\n', ' ').splitlines()]


def in_sentences(name):
    """The commands in the sentences of a page, without those that have a word in capitals for the reader's own."""
    found = re.findall(r'`((?:bash|python3) [^`]+)`', page(name))
    return [' '.join(command.split()) for command in found if not re.search(r'\b[A-Z]{3,}\b', command)]
