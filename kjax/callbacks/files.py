"""Whether there will be a place to write to."""

import os
import tempfile


def require_writable(folder: str, path: str, owner: str) -> None:
    """Makes a folder, and tries to write in it.

    Raises:
        OSError: that cannot be, or `path` is a folder itself; names the owner and the path.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise type(error)(error.errno, f"{owner} cannot write {path!r}: {error.strerror}", folder) from None
    if os.path.isdir(path):
        raise IsADirectoryError(f"{owner} writes files, but {path!r} is a folder: name a file in it")
