"""The one exception a user is meant to read."""


class InputError(ValueError):
    """What the user gave is wrong. The message is one sentence: what is wrong, where, and how to mend it.

    The command line prints it and exits with code 2; no traceback is shown.
    """
