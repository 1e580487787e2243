"""Panels: the pictures of a run's report as plain data, kept in report/pictures/NAME.json of its results.

A resumed run therefore still has them, and its page can be written without TensorFlow.
"""
import json
import os
import uuid
from typing import Any, Dict

from core.reporting import record

FOLDER = 'pictures'
Panel = Dict[str, Any]


def load(run_dir: str) -> Dict[str, Panel]:
    """{name: picture} of the run whose results are in `run_dir`, by name. Raises OSError."""
    folder = os.path.join(record.directory(run_dir), FOLDER)
    names = sorted(name[:-len('.json')] for name in os.listdir(folder) if name.endswith('.json')) \
        if os.path.isdir(folder) else []
    return {name: _load(folder, name) for name in names}


def _load(folder, name):
    with open(os.path.join(folder, name + '.json'), encoding='utf-8') as file:
        return json.load(file)


def store(run_dir: str, name: str, panel: Panel) -> None:
    """Keeps a picture of the run whose results are in `run_dir`. Raises OSError."""
    folder = os.path.join(record.directory(run_dir), FOLDER)
    os.makedirs(folder, exist_ok=True)
    save(os.path.join(folder, name + '.json'), json.dumps(panel, ensure_ascii=False))


def save(path: str, text: str) -> str:
    """Writes a file in one step, so that a reader never meets half of it. Raises OSError."""
    part = '%s.tmp%s' % (path, uuid.uuid4().hex)   # TensorFlow's own form, which a ModelArts job leaves alone
    try:
        with open(part, 'w', encoding='utf-8') as file:
            file.write(text)
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)
    return path
