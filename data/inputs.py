"""Inputs of a data.dataset.DataSet that need no file of their own: Recipe.train_input, test_input and hooks."""
from typing import Any, Callable, Dict, Optional

from core.run import Input
from core.settings.config import Config
from data import pipeline
from data.dataset import DataSet
from data.loading import skipped_hooks


def of_data_set(train: Optional[pipeline.Transform] = None, test: Optional[pipeline.Transform] = None,
                load_one: Optional[Callable] = None) -> Dict[str, Any]:
    """{'train_input': ..., 'test_input': ..., 'hooks': ...} for Recipe(**...).

    train(x, y, seed), test(x, y, seed) -> (inputs, labels) of a batch; None: as the DataSet has them. load_one(x, y,
    seed) -> (x, y) of one example, before these; None: as the DataSet loads them. The hooks count what fails.
    """
    def loading(data: DataSet, config: Config) -> Dict[str, Any]:
        return dict(dict(load_one=load_one) if load_one else data.loading, rank=config.rank, ranks=config.ranks)

    def train_input(data: DataSet, config: Config) -> Input:
        return pipeline.train_input(data.train, config.batch_size, config.seed, transform=train,
                                    **loading(data, config))

    def test_input(data: DataSet, config: Config) -> Input:
        return pipeline.test_input(data.test, config.batch_size, transform=test, **loading(data, config))
    return dict(train_input=train_input, test_input=test_input, hooks=skipped_hooks)
