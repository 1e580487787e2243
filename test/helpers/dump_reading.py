"""What tests read of dump files."""
from core.ascend.diagnostics.dump_files import OUTPUT, tensors_of


def outputs_of(directory):
    """The outputs of tensors_of()."""
    return [tensor for tensor in tensors_of(directory) if tensor.kind == OUTPUT]
