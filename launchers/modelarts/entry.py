"""What the entry files of the vendors' projects on ModelArts mean: the platform's local directories."""
import os
from typing import List, Sequence

DATA = '/home/ma-user/modelarts/inputs/data_url_0'
RESULTS = '/home/ma-user/modelarts/outputs/train_url_0/'


def arguments(argv: Sequence[str], case: str, data: str = DATA) -> List[str]:
    """What the boot file gets for `argv`: a --case, and --data_url and --train_url where they are not given.

    Data that is on the machine already is not copied again.
    """
    given = {argument.partition('=')[0]: argument.partition('=')[2] for argument in argv}
    kept = [argument for argument in argv if not argument.startswith('--data_url=')]
    url = given.get('--data_url', data)
    if '--data_path' not in given:
        kept.append(('--data_path=' if os.path.isdir(url) else '--data_url=') + url)
    if '--train_url' not in given:
        kept.append('--train_url=' + RESULTS)
    return kept + ['--case=' + case] * ('--case' not in given)
