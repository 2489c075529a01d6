"""Listening sockets: bound once by the arbiter, inherited by every worker; the unix ones' places on disk.

Whoever may not have an address is told who holds it and what to do (StartError). A unix socket's path is
replaced only if nobody answers there. Sources: systemd's sd_listen_fds(3), unix(7), ipv6(7).
"""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from accel.config import Address, ServerOptions
from accel.errors import StartError
from accel.server import holders

BACKLOG = 4096
"""What the kernel allows by default (net.core.somaxconn)."""
FIRST_PASSED_FD = 3
"""sd_listen_fds(3): SD_LISTEN_FDS_START."""

CLIENT_SOCKET_MODE = 0o666
"""A unix socket for clients is as open as a port; its directory says who may come near."""
ADMIN_SOCKET_MODE = 0o600
_MEND_IN_USE = "stop that, or listen elsewhere"
_MEND_NAME_IN_USE = "two accels of one user need two names (--name)"

_ELSEWHERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""This machine has no such address: no harm if the same name has another one that works."""


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A socket that listens, and what for."""

    sock: socket.socket
    asked: Address | None
    """The option's address, which may be a name or port 0; None for what systemd passed."""


def bind(options: ServerOptions, environ: MutableMapping[str, str] | None = None) -> list[Bound]:
    """Return the listening sockets: those that systemd passed, else one for each address of `options.listen`.

    All are non-blocking and inheritable. Raises StartError; then none stays open.
    """
    passed = passed_sockets(os.environ if environ is None else environ)
    if passed:
        return [Bound(sock, None) for sock in passed]
    return bind_or_take(options, [])


def bind_or_take(options: ServerOptions, inherited: list[Bound]) -> list[Bound]:
    """Return the same, but take out of `inherited` what listens at one of the addresses, and all that systemd passed.

    Raises StartError; then none of them stays open.
    """
    passed = [one for one in inherited if one.asked is None]
    if passed:
        inherited[:] = [one for one in inherited if one.asked is not None]
        return passed
    return take_or_bind(options.listen, inherited, lambda address: bind_address(address, options.reuseport))


def take_or_bind(
    addresses: Iterable[Address], inherited: list[Bound], bind_one: Callable[[Address], list[socket.socket]]
) -> list[Bound]:
    """Return the sockets of each address, inherited or new ones. Raises StartError; then none of them stays open."""
    taken: list[Bound] = []
    bound: list[Bound] = []
    try:
        for address in addresses:
            found = take(address, inherited)
            taken += found
            bound += [] if found else [Bound(sock, address) for sock in bind_one(address)]
    except BaseException:
        for one in taken:
            one.sock.close()  # its path is whose it was
        close(one.sock for one in bound)
        raise
    return taken + bound


def take(address: Address, inherited: list[Bound]) -> list[Bound]:
    """Take out of `inherited` the sockets that were asked for as `address`, or that listen there."""
    found = [one for one in inherited if one.asked == address]
    found = found or [one for one in inherited if address_of(one.sock) == address]
    for one in found:
        inherited.remove(one)
    return [Bound(one.sock, address) for one in found]


def bind_address(address: Address, reuseport: bool = False) -> list[socket.socket]:
    """Return the sockets listening on one address: several where a host name has several."""
    if address.path:
        return [_bind_unix(address, CLIENT_SOCKET_MODE, _MEND_IN_USE)]
    if not address.host:
        return [_bind_everywhere(address, reuseport)]
    bound: list[socket.socket] = []
    last: OSError | None = None
    for family, sockaddr in _resolved(address):
        try:
            bound.append(_bind_tcp(family, sockaddr, reuseport))
        except OSError as error:
            if error.errno not in _ELSEWHERE:
                close(bound)
                raise _start_error(address, error) from None
            last = error
    if last is not None and not bound:
        raise _start_error(address, last)
    return bound


def close(sockets: Iterable[socket.socket]) -> None:
    """Close the sockets and remove the paths of unix ones, unless another process answers there."""
    for sock in sockets:
        path = sock.getsockname() if sock.family == socket.AF_UNIX and sock.fileno() >= 0 else ""
        sock.close()
        if path:
            unlink(path)


def unlink(path: str) -> None:
    """Remove a unix socket's path, unless another process answers there."""
    if not answers(path):
        Path(path).unlink(missing_ok=True)


def address_of(sock: socket.socket) -> Address:
    """Return where a socket listens; an empty host for all addresses."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return Address(path=name)
    return Address("" if name[0] in ("::", "0.0.0.0") else name[0], name[1])


def passed_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the sockets that systemd opened for this process, and take the note of them out of `environ`."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environ.pop("LISTEN_FDS", "0"))
    for variable in ("LISTEN_PID", "LISTEN_FDNAMES"):
        environ.pop(variable, None)
    return [adopted(FIRST_PASSED_FD + number) for number in range(count)]


def admin_socket_path(name: str, environ: Mapping[str, str] | None = None) -> str:
    """Return where the instance `name` of this user listens for accelctl; makes and checks nothing.

    Root's are in /run/accel, a login user's in $XDG_RUNTIME_DIR/accel, everybody else's (a service's, a
    container's) in a directory of their own under the temporary one.
    """
    user = os.geteuid()
    runtime = (os.environ if environ is None else environ).get("XDG_RUNTIME_DIR")
    if user == 0 and os.access("/run", os.W_OK):
        directory = Path("/run/accel")
    elif runtime:
        directory = Path(runtime, "accel")
    else:
        directory = Path(tempfile.gettempdir(), f"accel-{user}")
    return str(directory / f"{name}.sock")


def bind_admin(address: Address) -> list[socket.socket]:
    """Return the admin's listening sockets; a unix socket's directory is made if missing, and private."""
    if address.path:
        _private_directory(Path(address.path).parent)
        return [_bind_unix(address, ADMIN_SOCKET_MODE, _MEND_NAME_IN_USE)]
    return bind_address(address)


def _private_directory(directory: Path) -> None:
    """Make the directory for its owner alone; refuse one in which another user could replace our socket."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
    except OSError as error:
        raise StartError(f"admin socket: cannot make {directory}: {error.strerror}") from None
    if os.geteuid() != 0 and found.st_uid not in (0, os.geteuid()):
        hint = "remove it, or set XDG_RUNTIME_DIR"
        raise StartError(f"admin socket: {directory} belongs to another user; {hint}")


def _bind_everywhere(address: Address, reuseport: bool) -> socket.socket:
    """Bind all addresses of both families with one socket; of IPv4 alone where IPv6 is missing."""
    both = socket.has_dualstack_ipv6()
    family, host = (socket.AF_INET6, "::") if both else (socket.AF_INET, "0.0.0.0")
    try:
        return _bind_tcp(family, (host, address.port), reuseport)
    except OSError as error:
        raise _start_error(address, error) from None


def _resolved(address: Address) -> list[tuple[int, tuple[str, int]]]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise StartError(f"cannot listen on {address}: the name is unknown here ({error.strerror})") from None
    return [(int(family), (str(sockaddr[0]), address.port)) for family, _, _, _, sockaddr in found]


def _bind_tcp(family: int, sockaddr: tuple[str, int], reuseport: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuseport:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(sockaddr[0] != "::"))
        sock.bind(sockaddr)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return _ready(sock)


def _bind_unix(address: Address, mode: int, mend: str) -> socket.socket:
    path = Path(address.path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            if answers(address.path):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            path.unlink(missing_ok=True)
        before = os.umask(~mode & 0o777)
        try:
            sock.bind(address.path)
        finally:
            os.umask(before)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _start_error(address, error, mend) from None
    return _ready(sock)


def answers(path: str) -> bool:
    """Return whether some process listens at this unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT)


def adopted(fd: int) -> socket.socket:
    """Return the listening socket that this process was started with as `fd`."""
    return _ready(socket.socket(fileno=fd))


def _ready(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    sock.set_inheritable(True)
    return sock


_MENDS = {
    errno.EACCES: "ports below 1024 are root's; start as root with --user, or let systemd pass the socket",
    errno.EADDRNOTAVAIL: "this machine has no such address; :PORT listens on all that it has",
    errno.ENOENT: "its directory does not exist; make it first",
}


def _is_no_socket(path: Path) -> bool:
    return path.exists() and not path.is_socket()


def _start_error(address: Address, error: OSError, mend: str = _MEND_IN_USE) -> StartError:
    if error.errno != errno.EACCES and address.path and _is_no_socket(Path(address.path)):
        why = "a file that is no socket is there; move it away"
    elif error.errno == errno.EADDRINUSE:
        why = f"it is in use by {holders.holder(address)}; {mend}"
    elif address.path and error.errno == errno.EACCES:
        why = "its directory may not be written to"
    else:
        why = _MENDS.get(error.errno or 0, error.strerror or str(error))
    return StartError(f"cannot listen on {address}: {why}")
