"""The one exception for what a user got wrong."""


class InputError(ValueError):
    """Bad input from a user: a flag, a file or the environment.

    Its message is one line that names the flag or file, says what is wrong and what to do.
    launchers/command.py and launchers/modelarts/job.py print it and end with status 2.
    """
