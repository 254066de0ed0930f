"""Are all processes there, before JAX waits for them?

JAX ends the interpreter with a trace of C++ if one of them does not come. So they first
meet here, at the same address: each says who it is, and process 0 answers all of them
with the same line, `go` or what is wrong.
"""

import socket
import time
from contextlib import closing, suppress
from threading import Thread
from typing import NamedTuple

GREETING = "adabelief-optax: "  # begins all lines; others may listen at that port
GO = "go"
LONGEST = 1000  # characters of a line
PAUSE = 0.2  # seconds between attempts


class Address(NamedTuple):
    """Where process 0 listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """Returns HOST:PORT, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def address(text: str) -> Address:
    """Returns the parts of HOST:PORT, or raises ValueError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host[:1] == "[" else host
    if not (host and colon and port.isascii() and port.isdecimal()):
        raise ValueError(text)
    if not 0 < int(port) < 2**16 or (":" in host and not text.startswith("[")):
        raise ValueError(text)
    return Address(host, int(port))


def meet(where: Address, processes: int, process_id: int, seconds: float) -> None:
    """Returns when all are there, or exits and says what is wrong."""
    end = time.monotonic() + seconds
    if process_id:
        answer = ask(where, processes, process_id, end)
    else:
        server = listen(where)
        thread = Thread(target=serve, args=(server, processes, seconds), daemon=True)
        thread.start()
        answer = ask(where, processes, process_id, end)
        thread.join(max(0, end - time.monotonic()))
        server.close()
    if answer == GO:
        return
    raise SystemExit(
        answer
        or f"process {process_id} cannot reach process 0 at --coordinator {where} "
        f"within {seconds:g} s: is that its address, and is it running?"
    )


def listen(where: Address) -> socket.socket:
    """Returns a socket at the port, on all addresses of this host, as JAX has it."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(
            ("", where.port), family=family, backlog=1024, dualstack_ipv6=dual
        )
    except OSError as error:
        raise SystemExit(
            f"process 0 cannot listen at --coordinator {where}: {error.strerror}; "
            "choose another port"
        ) from None


def ask(where: Address, processes: int, process_id: int, end: float) -> str:
    """Returns the answer of process 0, or nothing if there is none in time."""
    while (left := end - time.monotonic()) > 0:
        with suppress(OSError), socket.create_connection(where, left) as connection:
            connection.sendall(f"{GREETING}{processes} {process_id}\n".encode())
            # A little longer than process 0 waits: it knows more.
            connection.settimeout(max(0, end - time.monotonic()) + 2)
            with connection.makefile(encoding="utf-8") as lines:
                if (answer := lines.readline(LONGEST)).startswith(GREETING):
                    return answer.removeprefix(GREETING).strip()
        time.sleep(PAUSE)
    return ""


def serve(server: socket.socket, processes: int, seconds: float) -> None:
    """Waits until all have come, or what is wrong is known, and answers them.

    Process 0 itself comes too, later than others perhaps, and is always waited for.
    """
    end, came, answer = time.monotonic() + seconds, {}, GO
    while 0 not in came or (len(came) < processes and answer == GO):
        server.settimeout(max(1e-3, end - time.monotonic()))
        try:
            connection, _ = server.accept()
            connection.settimeout(1)
            line = connection.makefile(encoding="utf-8").readline(LONGEST)
            theirs, name = map(int, line.removeprefix(GREETING).split())
        except ValueError:
            continue  # no process of ours
        except OSError:
            if time.monotonic() < end:
                continue
            if answer == GO:
                missing = sorted(set(range(processes)) - set(came))
                answer = f"process {named(missing)} did not come within {seconds:g} s"
            break
        if answer == GO and theirs != processes:
            answer = f"--processes is {processes} in process 0, {theirs} in {name}"
        elif answer == GO and name in came:
            answer = f"--process-id {name} was given to two processes"
        came[name if name not in came else -1] = connection
    for connection in came.values():
        with suppress(OSError), closing(connection):
            connection.sendall(f"{GREETING}{answer}\n".encode())


def named(numbers: list[int]) -> str:
    """Returns the first few numbers, with commas."""
    return ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")
