"""Finds data sets on this machine, or downloads them once."""

import contextlib
import hashlib
import http.client
import os
import pathlib
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Split = tuple[np.ndarray, np.ndarray]
NAMES = ("x_train", "y_train", "x_test", "y_test")
HOST = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
SECONDS = 30


class DownloadError(OSError):
    """A data set could not be downloaded; says from where, to where, and what to do."""


def load(name: str, digest: str, download: Callable[[str], Arrays], host: str = HOST) -> tuple[Split, Split]:
    """The arrays of `<name>.npz` as Keras returns them.

    It is looked for in the folder that the environment variable KJAX_DATASETS names, in kjax's cache folder, and in
    Keras's; else it is downloaded, checked, and put into the first of these.

    Args:
        name: of the data set.
        digest: what `content` gives for the right arrays.
        download: gets the arrays from a host.
        host: address that the files lie under.

    Raises:
        DownloadError: no connection, another content, or no way to write the cache.
        ValueError: a cached file that is damaged.
    """
    path = next((folder / f"{name}.npz" for folder in folders() if (folder / f"{name}.npz").is_file()), None)
    if path is None:
        path = folders()[0] / f"{name}.npz"
        with explained(name, host, path):
            arrays = download(host)
            if content(arrays) != digest:
                raise ValueError("the download has another content than expected")
            save(path, arrays)
    else:
        arrays = read(path)
    return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])


def folders() -> list[pathlib.Path]:
    """Where data sets may lie, the folder for downloads first."""
    given = os.environ.get("KJAX_DATASETS")
    keras = pathlib.Path(os.environ.get("KERAS_HOME", pathlib.Path.home() / ".keras")) / "datasets"
    own = user_cache() / "kjax" / "datasets"
    return [pathlib.Path(given).expanduser(), own, keras] if given else [own, keras]


def user_cache() -> pathlib.Path:
    """The platform's folder for caches."""
    if sys.platform == "win32":
        return pathlib.Path(os.environ.get("LOCALAPPDATA", pathlib.Path.home() / "AppData" / "Local"))
    if sys.platform == "darwin":
        return pathlib.Path.home() / "Library" / "Caches"
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")


def read(path: pathlib.Path) -> Arrays:
    """The four arrays of a file.

    Raises:
        ValueError: the file is damaged, or holds something else.
    """
    try:
        # Opened here: np.load leaves a damaged file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in NAMES}
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"{path} is damaged or no such data set ({error}): delete it, and it is downloaded again"
        ) from None


def content(arrays: Arrays) -> str:
    """SHA-256 over the bytes of the four arrays: it does not depend on how a file packs them."""
    digest = hashlib.sha256()
    for name in NAMES:
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def save(path: pathlib.Path, arrays: Arrays) -> None:
    """Writes the file whole or not at all; of two processes that do it at once, either's file is right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def fetch(url: str) -> bytes:
    """The bytes at an address, with a progress bar on a terminal.

    Raises:
        OSError: no connection, no such file, or fewer bytes than announced.
    """
    from tqdm import tqdm

    with opened(url) as answer:
        size = int(answer.headers.get("Content-Length") or 0)
        parts = []
        with tqdm(total=size or None, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1], disable=None) as bar:
            while part := answer.read(1 << 16):
                parts.append(part)
                bar.update(len(part))
    data = b"".join(parts)
    if size and len(data) != size:
        raise OSError(f"got {len(data)} of {size} bytes")
    return data


def opened(url: str) -> Any:
    """The server's answer."""
    try:
        return urllib.request.urlopen(url, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        raise OSError(f"the server answers {error.code} {error.reason} for {url}") from None


@contextlib.contextmanager
def explained(name: str, host: str, path: pathlib.Path) -> Iterator[None]:
    """Whatever goes wrong within, as one error that says what to do."""
    wrong = (OSError, ValueError, EOFError, zipfile.BadZipFile, urllib.error.URLError, http.client.HTTPException)
    try:
        yield
    except wrong as error:
        raise DownloadError(
            f"could not get {name} from {host} into {path}: {error}. Put {path.name} there by hand, or set the "
            "environment variable KJAX_DATASETS to a folder that holds it"
        ) from error
