"""The data of another network is recognised when a run is planned, and the refusal says which network reads it."""
import pytest

from core.errors import InputError
from core.settings.config import resolve
from launchers import plan
from launchers.networks import readers
from launchers.networks.registry import RECIPES

FILES = {'cifar10': 'cifar-10-batches-py/data_batch_1', 'cifar100': 'train', 'svhn': 'train_32x32.mat',
         'cats_dogs': 'train/cat.1.jpg', 'nothing': 'notes.txt'}


def config(tmp_path, network, data, **given):
    file = tmp_path / FILES[data]
    file.parent.mkdir(exist_ok=True)
    file.write_text('')
    return resolve(RECIPES[network], dict(given, network=network, data_path=str(tmp_path)), {})


@pytest.mark.parametrize('network, data, given', [
    ('cspnet', 'cifar10', {}), ('cutmix', 'cifar10', {}), ('sesemi', 'cifar100', {'task': 'cifar100'}),
    ('sesemi', 'svhn', {'task': 'svhn'}), ('alexnet', 'cats_dogs', {}), ('swa', 'nothing', {}),
    ('cspnet', 'nothing', {'task': 'folder'})])
def test_a_network_takes_its_own_data(tmp_path, network, data, given):
    readers.check(RECIPES[network], config(tmp_path, network, data, **given))


@pytest.mark.parametrize('network, data, words', [
    ('cspnet', 'cats_dogs', 'which --network=alexnet reads; --network=cspnet reads CIFAR-10 (data_batch_1'),
    ('alexnet', 'cifar10', 'which --network=cspnet or --network=cutmix or --network=sesemi reads; --network=alexnet'),
    ('cutmix', 'svhn', '--network=sesemi --task=svhn reads; --network=cutmix reads CIFAR-10'),
    ('sesemi', 'cifar100', '--network=sesemi --task=cifar100 reads; '),
    ('cspnet', 'nothing', 'holds none of the data sets that a network reads'),
    ('cspnet', 'nothing', '--network=swa needs no data'),
])
def test_the_data_of_another_network_is_refused_with_the_network_that_reads_it(tmp_path, network, data, words):
    with pytest.raises(InputError) as refusal:
        readers.check(RECIPES[network], config(tmp_path, network, data))
    assert words in str(refusal.value) and str(refusal.value).startswith('--data_path=%s: holds' % tmp_path)


def test_a_task_of_other_networks_is_refused(tmp_path):
    with pytest.raises(InputError, match='--task=cats_dogs: must be one of cifar10, .* for this network'):
        readers.check(RECIPES['cspnet'], config(tmp_path, 'cspnet', 'cats_dogs', task='cats_dogs'))


def test_the_first_line_names_network_vendor_and_case_and_who_reads_the_same_files(tmp_path):
    def line(network, data, **given):
        return plan.headline(RECIPES[network], config(tmp_path, network, data, **given))
    assert line('cspnet', 'cifar10') == ('Network: cspnet (CSPNet_ID0840_for_TensorFlow), case: full; '
                                         '--network=cutmix and --network=sesemi read the same files')
    assert line('swa', 'nothing', case='performance') == 'Network: swa (SWA_ID0252_for_TensorFlow), case: performance'
