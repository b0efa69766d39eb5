"""What can go wrong, each with the exit status of `lab` that stands for it."""


class LabError(Exception):
    status = 1


class UsageError(LabError):
    status = 2


class NotThere(LabError):
    """No such instance or host, or the host is not running."""

    status = 3


class TimedOut(LabError):
    status = 4


class CannotHere(LabError):
    """This machine cannot carry the lab: not root, no namespaces, a program missing."""

    status = 77
