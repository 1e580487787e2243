"""toy.py on a machine without a compiler: python without_kernels.py --flag=value ..."""
import importlib.util
import os
import sys

import toy

if __name__ == '__main__':
    if importlib.util.find_spec('core.cpu'):
        from core.cpu import kernels
        kernels.library = lambda: None
    sys.exit(toy.run(*sys.argv[1:], **os.environ))
