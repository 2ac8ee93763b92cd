"""The Python SDK for authors of frameworks: schedulers that run tasks on a Proffer cluster.

`Framework.run` keeps a session with the leading master and calls the handlers of a `Scheduler`; between handlers nothing
happens, so they need no locks. `proffer.v1` is the wire itself, generated; offers, tasks and statuses are its messages.

Three rules for authors:

- Keep what matters of a status before `on_update` returns: returning acknowledges it, and its agent forgets it then.
- After `launch`, each task is refused, or what became of it comes as a status, also when `launch` raised.
- An id that an earlier run of the program may have launched goes through `Framework.settle` before it is launched.

Kept so, no task is started twice, whatever is killed meanwhile: the SDK launches an id again only when its end was told,
or when after a change of leader all agents have said what they run.
"""

from proffer import v1
from proffer.framework import Framework, Scheduler, run
from proffer.limits import CALL_TIMEOUT
from proffer.offers import Remainder, fits, ports
from proffer.parts import demand, is_terminal, resources, shell_task, state_name
from proffer.problem import ProfferError, Unreachable
from proffer.state import State
from proffer.token import find_token

__all__ = [
    "CALL_TIMEOUT",
    "Framework",
    "ProfferError",
    "Remainder",
    "Scheduler",
    "State",
    "Unreachable",
    "demand",
    "find_token",
    "fits",
    "is_terminal",
    "ports",
    "resources",
    "run",
    "shell_task",
    "state_name",
    "v1",
]
